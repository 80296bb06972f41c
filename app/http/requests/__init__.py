"""From the bytes of a request to checked values.

Imports `app.http`, `app.service.files`, `index_builder`, `model`, `sketchseek_client`.
"""
