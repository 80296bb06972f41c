"""The gallery on disk: a Lance dataset, its versions, its one writer, its checksums, and how tokens are stored.

Imports `model`.
"""
