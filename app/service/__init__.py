"""What runs beside the requests: the device's worker, the gallery being served and its changes, the photos' files.

Imports `app.search`, `index_builder`, `model`.
"""
