"""The service: two-stage search over HTTP."""
