"""A sketch as people make it becomes dark lines on white.

Imports no other room.
"""
