"""The gallery on disk or in a bucket: a Lance dataset, its versions, its one writer, its checksums, and how tokens are
stored.

Imports `index_builder.object_storage`, `model`.
"""
