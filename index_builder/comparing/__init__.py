"""What the folders have and the gallery lacks, and whether what is missing is gone.

Imports `index_builder.photo_files`, `index_builder.scanning`, `index_builder.store`.
"""
