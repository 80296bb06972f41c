"""Query expansion: the first photos found say what others of their kind look like.

A sketch and a photo look less alike than two photos of one thing do. So the sketch's descriptor is moved towards the
mean of its first hits' descriptors, and the gallery is searched again (average query expansion: Chum, Philbin, Sivic,
Isard and Zisserman, ICCV 2007, "Total recall").
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def expand(descriptors: Tensor, neighbours: Tensor, weight: float) -> Tensor:
    """Descriptors moved towards their first hits.

    Args:
        descriptors: [Q, E] float32, L2-normalised, of sketches.
        neighbours: [Q, K, E] float32, no longer than 1, of the photos found first; K may be 0, which moves nothing.
        weight: of the hits' mean direction beside the sketch's own, at least 0.

    Returns:
        [Q, E] float32, L2-normalised.
    """
    if not neighbours.shape[1]:
        return descriptors
    return F.normalize(descriptors + weight * F.normalize(neighbours.mean(dim=1), dim=-1), dim=-1)
