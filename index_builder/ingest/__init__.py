"""From files to commits: decode, recognise, encode, store; and the changes of a gallery as a whole.

Imports `index_builder.photo_files`, `index_builder.scanning`, `index_builder.comparing`, `index_builder.store`,
`model`.
"""
