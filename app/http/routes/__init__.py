"""The routes, one module per resource.

Imports `app.http`, `app.http.requests`, `app.search`, `app.service`, `app.service.serving`, `app.service.files`,
`app.service.changes`, `index_builder`, `model`, `sketchseek_client`.
"""
