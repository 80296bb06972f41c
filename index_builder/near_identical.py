"""Which photos are near-identical: the same picture saved again, resized, or cropped a little.

Two photos are, if the cosine of their descriptors is at least `NEAR_IDENTICAL`. What that finds of made variants, and
what else, is in docs/gallery.md. Photos of the same content have the same descriptor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NEAR_IDENTICAL = 0.97
"""Cosine from which on two photos count as the same picture."""
_BLOCK, _LEADERS_AT_ONCE = 512, 32_768  # 64 MB of cosines at a time

Places = npt.NDArray[np.int64]


def leaders_of(descriptors: npt.NDArray[np.float32], threshold: float = NEAR_IDENTICAL) -> Places:
    """Groups of near-identical photos. Each photo, in order, joins the leader it is most like, or becomes one.

    So the first photo of each group leads it, every other one is near-identical to it, and chains of small changes do
    not join what differs. Costs n times the number of leaders; memory is that of three times the descriptors.

    Args:
        descriptors: [n, E], of any length, in the order in which photos are preferred as leaders.
        threshold: least cosine of two near-identical photos.

    Returns:
        [n] int64, the place of each photo's leader; its own for a leader.
    """
    units = descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
    leader = np.arange(len(units), dtype=np.int64)
    chosen = np.empty(len(units), dtype=np.int64)
    leading = np.empty_like(units)
    count = 0
    for start in range(0, len(units), _BLOCK):
        part = units[start : start + _BLOCK]
        best, cosine = _nearest(part, leading[:count])
        among = part @ part.T
        for place in range(len(part)):
            if cosine[place] >= threshold:
                leader[start + place] = chosen[best[place]]
                continue
            chosen[count], leading[count] = start + place, part[place]
            rest = slice(place + 1, None)
            nearer = among[place, rest] > cosine[rest]
            cosine[rest] = np.where(nearer, among[place, rest], cosine[rest])
            best[rest] = np.where(nearer, count, best[rest])
            count += 1
    return leader


def _nearest(
    units: npt.NDArray[np.float32], leading: npt.NDArray[np.float32]
) -> tuple[Places, npt.NDArray[np.float32]]:
    """The leader that each photo is most like, the first of equals, and the cosine; -1 without leaders."""
    best = np.zeros(len(units), dtype=np.int64)
    cosine = np.full(len(units), -1.0, dtype=np.float32)
    for start in range(0, len(leading), _LEADERS_AT_ONCE):
        cosines = units @ leading[start : start + _LEADERS_AT_ONCE].T
        found = cosines.argmax(axis=1)
        value = cosines[np.arange(len(units)), found]
        nearer = value > cosine
        best, cosine = np.where(nearer, start + found, best), np.where(nearer, value, cosine)
    return best, cosine
