"""Where the likely results of a search end."""

from __future__ import annotations

import numpy as np
import torch

from app.search.query_and_answer import Asked, Descriptors, Rows
from model.ranking.likely import DEPTH, FIRST, likelihood, likely_first, shared
from model.score_rules import LikelyRule


def count_likely(rule: LikelyRule, asked: Asked, descriptors: Descriptors, order: Rows, liked: int) -> int:
    """How many results are likely to show what is asked for, from the first one on.

    The line is drawn among the first candidates of recall, of which every search of the usual depth has the same. Those
    of a deeper search that come before it are likely as well.

    Args:
        rule: of the checkpoint, for this kind of query.
        asked: the query.
        descriptors: [C, E] float32 of the candidates, as the recall score takes them and in the order of recall. The
            first ones say what the others are compared with.
        order: [R] places of the candidates that are results, best first.
        liked: how many candidates are liked. They are the first, and likely.

    Returns:
        at most R.
    """
    if not len(order):
        return 0
    photos = torch.from_numpy(descriptors)
    likelihoods = likelihood(rule, shared(torch.from_numpy(asked.combined.unexpanded), photos, photos[:FIRST]))
    wanted = int((order < liked).sum())
    near = np.flatnonzero(order < DEPTH)
    near = near[near >= wanted]
    line = likely_first(likelihoods[torch.from_numpy(order[near])])
    return int(near[line - 1]) + 1 if line else wanted
