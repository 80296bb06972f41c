"""What networks are made of, each layer by itself.

Imports `model.backbones`, `model.text`.
"""
