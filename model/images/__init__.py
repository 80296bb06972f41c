"""From a file of any kind to the network's input: opening, limits, sketch clean-up, preprocessing.

Imports `model.images.formats`.
"""
