"""Finding candidates by descriptor with FAISS, and keeping the indices on disk.

Imports `index_builder.store`, `model`.
"""
