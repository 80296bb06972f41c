"""Changes of the gallery while it is served: one at a time, with their progress and what went wrong.

Imports `app.service.serving`, `app.service.files`, `index_builder`, `model`.
"""
