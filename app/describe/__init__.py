"""Asks a language model to describe categories, for training with text.

Imports `model`.
"""
