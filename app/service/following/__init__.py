"""Keeps the gallery in line with its folders: events of the system, and looks at regular times.

Imports `app.service.changes`, `index_builder`.
"""
