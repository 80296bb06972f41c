"""Metrics as pure functions, and protocols that take a rank callable."""
