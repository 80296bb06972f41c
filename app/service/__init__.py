"""The service as one object: its parts, their start and end, and what runs in the background.

Imports `app.service.serving`, `app.service.files`, `app.service.changes`, `app.service.following`, `app.search`,
`index_builder`, `model`.
"""
