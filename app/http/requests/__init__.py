"""From the bytes of a request to checked values.

Imports `app.http`, `app.service.files`, `model`, `sketchseek_client`.
"""
