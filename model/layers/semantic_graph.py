"""Graph convolution over class names: what categories mean becomes prototypes in the space of descriptors.

The graph joins every category with its nearest ones: the minimum spanning tree of the names' distances, so that it is
connected, and optionally each name's k nearest neighbours besides. Two layers of graph convolution (Kipf and Welling,
ICLR 2017) carry the names' embeddings over it. Seen categories only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def spanning_tree(names: Tensor) -> list[tuple[int, int]]:
    """Edges of the minimum spanning tree of Euclidean distances, by Prim's algorithm.

    Args:
        names: [C, T] embeddings.

    Returns:
        C - 1 pairs (i, j) with i < j, in rising order. Of equal distances the lower number is taken, so that the same
        names always give the same tree.
    """
    # In float64: cdist's float32 shortcut loses precision for names that lie close together.
    distances = torch.cdist(names.double(), names.double(), compute_mode="donot_use_mm_for_euclid_dist")
    count = len(names)
    nearest = distances[0].clone() if count else distances.new_zeros(0)
    joined_to = [0] * count
    outside = set(range(1, count))
    edges = []
    while outside:
        node = min(outside, key=lambda number: (float(nearest[number]), number))
        outside.remove(node)
        edges.append((min(node, joined_to[node]), max(node, joined_to[node])))
        for other in outside:
            if distances[node, other] < nearest[other]:
                nearest[other] = distances[node, other]
                joined_to[other] = node
    return sorted(edges)


def class_graph(names: Tensor, neighbours: int = 0) -> Tensor:
    """Which categories are joined.

    Args:
        names: [C, T] embeddings.
        neighbours: how many nearest names are joined besides the spanning tree's.

    Returns:
        [C, C] bool, symmetric, False on the diagonal.
    """
    count = len(names)
    adjacent = torch.zeros(count, count, dtype=torch.bool)
    edges = spanning_tree(names)
    if neighbours and count > 1:
        distances = torch.cdist(names.double(), names.double(), compute_mode="donot_use_mm_for_euclid_dist")
        distances.fill_diagonal_(torch.inf)
        nearest = distances.topk(min(neighbours, count - 1), largest=False).indices
        edges += [(row, column) for row in range(count) for column in nearest[row].tolist()]
    for one, other in edges:
        adjacent[one, other] = adjacent[other, one] = True
    return adjacent


def normalised_adjacency(adjacent: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of a graph [C, C] bool -> [C, C] float32 (Kipf and Welling, equation 2)."""
    with_self = adjacent.float() + torch.eye(len(adjacent), device=adjacent.device)
    scale = with_self.sum(dim=1).rsqrt()
    return scale[:, None] * with_self * scale[None, :]


class ClassGraph(nn.Module):
    """Prototypes of C categories by two graph convolutions over their names.

    Args:
        names: [C, T] embeddings.
        size: E, of the prototypes.
        hidden: width between the layers.
        neighbours: see `class_graph`.
    """

    names: Tensor
    adjacency: Tensor

    def __init__(self, names: Tensor, size: int, hidden: int = 512, neighbours: int = 0) -> None:
        super().__init__()
        self.register_buffer("names", names, persistent=False)
        adjacency = normalised_adjacency(class_graph(names.cpu(), neighbours))
        self.register_buffer("adjacency", adjacency.to(names.device), persistent=False)
        self.first = nn.Linear(names.shape[1], hidden)
        self.second = nn.Linear(hidden, size)

    def forward(self) -> Tensor:
        """[C, E] float32, L2-normalised."""
        hidden = F.leaky_relu(self.adjacency @ self.first(self.names), 0.2)
        return F.normalize(self.adjacency @ self.second(hidden), dim=1)
