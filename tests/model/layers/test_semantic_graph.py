"""Graph convolution over class names against plain loops."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch.nn import functional as F

from model.layers.semantic_graph import ClassGraph, class_graph, normalised_adjacency, spanning_tree


def names(count, width=12, seed=0):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_spanning_tree_is_scipys(count, seed):
    embedded = names(count, seed=seed)
    distances = torch.cdist(embedded.double(), embedded.double()).numpy()
    rows, columns = minimum_spanning_tree(distances).nonzero()
    expected = sorted((min(edge), max(edge)) for edge in zip(rows.tolist(), columns.tolist(), strict=True))
    assert spanning_tree(embedded) == expected
    assert len(expected) == count - 1


def test_equal_names_are_joined_all_the_same():
    embedded = names(3)[[0, 0, 1, 1, 2]]
    edges = spanning_tree(embedded)
    assert len(edges) == 4
    assert {(0, 1), (2, 3)} <= set(edges)
    assert edges == spanning_tree(embedded.clone())


def test_no_categories_no_edges():
    assert spanning_tree(names(0)) == []
    assert class_graph(names(0)).shape == (0, 0)


def test_neighbours_are_joined_besides_the_tree():
    embedded = names(15)
    graph = class_graph(embedded, neighbours=3)
    tree = class_graph(embedded)
    assert torch.equal(graph, graph.T)
    assert not bool(graph.diagonal().any())
    assert bool((graph | ~tree).all()), "the tree is part of it"
    for row in range(15):
        distances = sorted(
            (float((embedded[row] - embedded[other]).norm()), other) for other in range(15) if other != row
        )
        for _, other in distances[:3]:
            assert graph[row, other]
    assert int(graph.sum()) <= 2 * (14 + 45)


def test_convolutions_are_the_loop():
    embedded = names(7)
    graph = ClassGraph(embedded, size=5, hidden=6, neighbours=2).eval()
    edges = class_graph(embedded, 2)
    degree = [1 + int(row.sum()) for row in edges]

    def spread(values):
        out = []
        for node in range(7):
            total = torch.zeros(values.shape[1], dtype=torch.float64)
            for other in range(7):
                if node == other or edges[node, other]:
                    total += values[other].double() / math.sqrt(degree[node] * degree[other])
            out.append(total)
        return torch.stack(out)

    with torch.no_grad():
        hidden = spread(torch.stack([graph.first(name) for name in embedded]))
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        last = spread(torch.stack([graph.second(row.float()) for row in hidden]))
        expected = torch.stack([row / row.norm() for row in last])
        torch.testing.assert_close(graph(), expected.float(), rtol=1e-5, atol=1e-6)


def test_the_adjacency_has_no_eigenvalue_beyond_one():
    """Otherwise layers would blow up what they carry on."""
    adjacency = normalised_adjacency(class_graph(names(20), 2))
    values = np.linalg.eigvalsh(adjacency.numpy())
    assert values.max() == pytest.approx(1.0, abs=1e-5)
    assert values.min() > -1.0


def test_graph_and_prototypes_are_reproducible_and_learn():
    embedded = names(9)
    torch.manual_seed(3)
    first = ClassGraph(embedded, 4, 8)
    torch.manual_seed(3)
    second = ClassGraph(embedded, 4, 8)
    assert torch.equal(first.adjacency, second.adjacency)
    assert torch.equal(first(), second())
    (first() * torch.randn(9, 4)).sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in first.parameters())
    assert "names" not in first.state_dict(), "what is known of names belongs to the run, not to a saved state"
