"""Which files belong to a gallery: folders listed, left out by rule, and looked at again when they change.

Imports `index_builder.photo_files`, `model`.
"""
