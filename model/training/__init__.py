"""The recipe of a run and its samples, which the rooms below share.

Imports `model.data`.
"""
