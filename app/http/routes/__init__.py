"""The routes, one module per resource.

Imports `app.http`, `app.http.requests`, `app.search`, `app.service`, `index_builder`, `model`, `sketchseek_client`.
"""
