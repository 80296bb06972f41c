"""What answers a search: the line for the device, and the version of the gallery being served.

Imports `app.search`, `index_builder`, `model`.
"""
