"""How well a checkpoint retrieves: protocols, arms, metrics, reports.

Imports `model.networks`, `model.ranking`, `model.data`, `model.images`.
"""
