"""Photos' files where they lie: in folders or in buckets, looked at and read by the same calls.

Imports `index_builder.object_storage`, `model`.
"""
