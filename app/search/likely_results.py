"""Where the likely results of a search end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.search.query_and_answer import Rows
from model.ranking.likely import DEPTH, likely_first


def count_likely(likelihoods: npt.NDArray[np.float32], order: Rows, liked: int) -> int:
    """How many results are likely to show what is asked for, from the first one on.

    The line is drawn among the first candidates of recall, of which every search of the usual depth has the same. Those
    of a deeper search that come before it are likely as well.

    Args:
        likelihoods: [C] of the candidates, in the order of recall (`model/ranking/likely.py`).
        order: [R] places of the candidates that are results, best first.
        liked: how many candidates are liked. They are the first, and likely.

    Returns:
        at most R.
    """
    if not len(order):
        return 0
    wanted = int((order < liked).sum())
    near = np.flatnonzero(order < DEPTH)
    near = near[near >= wanted]
    line = likely_first(likelihoods[order[near]])
    return int(near[line - 1]) + 1 if line else wanted
