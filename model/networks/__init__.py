"""The networks: encode once, relate many; which of them exist and how each is built.

Imports `model.layers`, `model.ranking`, `model.backbones`, `model.text`.
"""
