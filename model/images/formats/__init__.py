"""File formats, one module each: what stands around the pixels, read with bounds.

Imports no other room.
"""
