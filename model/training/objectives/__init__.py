"""What a training step minimises: losses as pure functions, and the terms of each recipe.

Imports `model.training`, `model.networks`, `model.layers`.
"""
