"""How well a checkpoint retrieves: protocols, arms, metrics, reports.

Imports `model.networks`, `model.layers`, `model.ranking`, `model.text`, `model.data`, `model.images`.
"""
