"""Sampling, losses and the training loop."""
