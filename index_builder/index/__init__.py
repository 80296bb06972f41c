"""Finding candidates by descriptor, with FAISS or on a Milvus server, and keeping the indices.

Imports `index_builder.store`, `model`.
"""
