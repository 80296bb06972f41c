"""timm backbones by name, and where their starting weights come from.

Imports no other room.
"""
