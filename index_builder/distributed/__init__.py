"""Reading and encoding photos on a Ray cluster: workers write rows, and the build that asked commits them.

Imports `index_builder.comparing`, `index_builder.ingest`, `index_builder.object_storage`, `index_builder.store`,
`model`.
"""
