"""What prepares a machine: the sample gallery, and what is wrong with the installation.

Imports `index_builder`, `model`.
"""
