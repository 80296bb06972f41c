"""One command for a machine with a card: its tests, its benchmarks, one table.

    python -m benchmarks.gpu                                  # at most eight minutes; `make gpu` does the same
    python -m benchmarks.gpu --device cpu --size rehearsal    # whether all of it works, where there is no card

Each part is a script of the folder above, or pytest, in a process of its own. So a part that fails, hangs or is killed
leaves the others alone. This package needs nothing but Python.
"""
