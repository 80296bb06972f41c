"""From descriptors and logits to an order, without a network.

Imports no other room.
"""
