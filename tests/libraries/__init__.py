"""Folders as people have them: vanished shares, moved files, odd names and times, other software's leftovers."""
