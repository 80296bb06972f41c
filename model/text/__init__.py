"""From words to embeddings: the frozen sentence encoder that names, descriptions and text queries share.

Imports no other room.
"""
