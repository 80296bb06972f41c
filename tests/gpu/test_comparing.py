"""The comparisons notice what they are there for."""

from dataclasses import replace

import pytest
import torch

from model.presets import ZSE_TINY
from tests.gpu.comparing import assert_same_order, distance, logit_error
from tests.model.tiny_networks import build, encodings

REFERENCE = encodings(build(ZSE_TINY), 3)


def test_the_same_patches_in_another_order_are_the_same():
    order = torch.randperm(REFERENCE.positions.shape[1])
    tokens = torch.cat([REFERENCE.tokens[:, :1], REFERENCE.tokens[:, 1:][:, order]], dim=1)
    same = distance(REFERENCE, replace(REFERENCE, tokens=tokens, positions=REFERENCE.positions[:, order]))
    assert same.descriptor == pytest.approx(0, abs=1e-6)
    assert (same.kept, same.tokens) == (1.0, 0.0)


def test_the_worst_image_counts():
    tokens, positions, descriptor = (
        value.clone() for value in (REFERENCE.tokens, REFERENCE.positions, REFERENCE.descriptor)
    )
    tokens[1] *= 1.5
    positions[2, 0] = next(patch for patch in range(16) if patch not in positions[2])
    descriptor[0] = -descriptor[0]
    off = distance(REFERENCE, replace(REFERENCE, tokens=tokens, positions=positions, descriptor=descriptor))
    assert off.descriptor == pytest.approx(2)
    assert off.tokens == pytest.approx(0.5)
    assert off.kept == pytest.approx(1 - 1 / REFERENCE.tokens.shape[1])


def test_logits_are_compared_with_their_spread():
    logits = torch.tensor([[0.0, 10.0], [20.0, 30.0]])
    assert logit_error(logits, logits + 1) == pytest.approx(1 / float(logits.std()))
    with pytest.raises(AssertionError):
        logit_error(logits, torch.full_like(logits, torch.nan))


RANKED = [("a", 0.9), ("b", 0.5), ("c", 0.499), ("d", 0.1)]


@pytest.mark.parametrize(
    ("found", "same"),
    [
        ([("a", 0.9), ("b", 0.5)], True),
        ([("a", 0.9), ("c", 0.5), ("b", 0.5)], True),
        ([("a", 0.901)], True),
        ([("a", 0.9), ("c", 0.499)], True),
        ([("b", 0.5), ("a", 0.9)], False),
        ([("a", 0.8)], False),
        ([("a", 0.9), ("b", 0.5), ("d", 0.499)], False),
        ([("x", 0.9)], False),
        ([("a", 0.9), ("a", 0.9)], False),
    ],
)
def test_photos_swap_only_where_their_scores_are_near(found, same):
    if same:
        assert_same_order(RANKED, found, 0.002)
    else:
        with pytest.raises(AssertionError):
            assert_same_order(RANKED, found, 0.002)
