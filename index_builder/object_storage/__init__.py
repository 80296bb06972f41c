"""Object storage such as S3: addresses, and objects that are read and replaced like files. All that knows obstore.

Imports `model`.
"""
