"""From a file of any kind to the network's input: opening, limits, colours, preprocessing.

Imports `model.images.cleanup`, `model.images.formats`.
"""
