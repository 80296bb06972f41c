"""The two-stage search and its explanations, free of HTTP.

Imports `index_builder`, `model`, `sketchseek_client`.
"""
