"""A run from its preparation to its checkpoint: loop, validation, log, resumption.

Imports `model.training`, `model.training.objectives`, `model.training.material`, `model.checkpoints`,
`model.networks`, `model.layers`, `model.backbones`, `model.text`, `model.evaluation`, `model.data`.
"""
