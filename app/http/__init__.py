"""What surrounds every request: limits, keys, the connection, errors as answers.

Imports `model`, `sketchseek_client`.
"""
