"""From a folder of photos to commits: scan, compare, decode, encode.

Imports `index_builder.store`, `model`.
"""
