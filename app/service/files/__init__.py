"""The photos' files: opened, stored under safe names, and made smaller to be shown.

Imports `index_builder`, `model`.
"""
