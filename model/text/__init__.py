"""From words to embeddings: the frozen sentence encoder that names and queries share, and the text tower of a CLIP.

Imports `model.backbones`.
"""
