"""What a run trains on: its sources, the images in memory, names, and what the starting backbone knows.

Imports `model.training`, `model.training.objectives`, `model.networks`, `model.backbones`, `model.data`, `model.text`.
"""
