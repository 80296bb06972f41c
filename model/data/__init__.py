"""Datasets as they lie on disk: sketches, photos, pairs, splits, descriptions; decoded images and their augmentation.

Imports `model.images`, `model.images.formats`.
"""
