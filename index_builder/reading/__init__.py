"""One version of a gallery as others see it: searched, described, exported, verified.

Imports `index_builder.store`, `index_builder.index`, `index_builder.comparing`, `index_builder.ingest`, `model`.
"""
