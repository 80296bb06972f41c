"""What surrounds every request: limits, keys, the connection, errors as answers, the schemas of answers.

Imports `model`.
"""
