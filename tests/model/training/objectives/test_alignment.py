"""Losses of CrossATNet and of text-aided alignment against naive loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from model.training.objectives.alignment import (
    attention_distillation,
    binary_code,
    both_ways_triplet,
    cross_modal_triplet,
    hash_agreement,
    token_match,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_triplet_is_the_loop():
    sketch, photo = unit(5, 6, seed=1), unit(7, 6, seed=2)
    same = torch.rand(5, 7, generator=torch.Generator().manual_seed(3)) < 0.3
    for margin in (0.1, 0.5):
        costs = []
        for s in range(5):
            for right in range(7):
                for wrong in range(7):
                    if same[s, right] and not same[s, wrong]:
                        cost = margin - float(sketch[s] @ photo[right]) + float(sketch[s] @ photo[wrong])
                        if cost > 0:
                            costs.append(cost)
        expected = sum(costs) / len(costs)
        assert float(cross_modal_triplet(sketch, photo, same, margin)) == pytest.approx(expected, rel=1e-5)
    back = cross_modal_triplet(photo, sketch, same.T, 0.1)
    both = both_ways_triplet(sketch, photo, same, 0.1)
    torch.testing.assert_close(both, (cross_modal_triplet(sketch, photo, same, 0.1) + back) / 2)


def test_a_triplet_that_costs_nothing_is_nothing():
    same = torch.eye(3, dtype=torch.bool)
    corners = torch.eye(3)
    assert float(cross_modal_triplet(corners, corners, same, 0.5)) == 0
    assert float(cross_modal_triplet(corners, corners, torch.ones(3, 3, dtype=torch.bool), 0.5)) == 0


def test_distillation_is_the_divergence_and_moves_the_photos_own_map_alone():
    guided = torch.randn(4, 6).log_softmax(1).requires_grad_()
    own = torch.randn(4, 6).log_softmax(1).detach().requires_grad_()
    loss = attention_distillation(guided, own)
    expected = 0.0
    for b in range(4):
        for n in range(6):
            taught, learnt = guided[b, n].item(), own[b, n].item()
            expected += math.exp(taught) * (taught - learnt) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert guided.grad is None
    assert own.grad is not None
    assert attention_distillation(own, own).item() == pytest.approx(0.0, abs=1e-6)


def test_codes_are_signs_with_the_gradient_of_a_hyperbolic_tangent():
    projected = torch.tensor([[-2.0, -0.1, 0.0, 0.3]], requires_grad=True)
    code = binary_code(projected)
    torch.testing.assert_close(code, torch.tensor([[-1.0, -1.0, 1.0, 1.0]]))
    code.sum().backward()
    torch.testing.assert_close(projected.grad, 1 - projected.detach().tanh() ** 2)


def test_hash_agreement_is_the_loop_and_least_where_codes_rank_alike():
    sketch, photo = unit(3, 8, seed=1), unit(5, 8, seed=2)
    first, second = (torch.where(unit(count, 12, seed=seed) > 0, 1.0, -1.0) for count, seed in ((3, 3), (5, 4)))
    expected = 0.0
    for s in range(3):
        target = (torch.stack([sketch[s] @ p for p in photo]) / 0.1).softmax(0)
        logits = torch.stack([first[s] @ code for code in second]) / 12 / 0.1
        expected -= float((target * logits.log_softmax(0)).sum()) / 3
    assert float(hash_agreement(sketch, photo, first, second, 0.1)) == pytest.approx(expected, rel=1e-4)
    # Descriptors that are codes already agree with them as well as can be.
    corner, others = first / math.sqrt(12), second / math.sqrt(12)
    best = hash_agreement(corner, others, first, second, 0.1)
    assert float(best) < float(hash_agreement(corner, others, first, second.roll(1, 0), 0.1))


def test_token_match_is_the_loop():
    tokens, text = unit(3, 4, 6, seed=1), unit(2, 5, 6, seed=2)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, True, True]])
    text_mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found = token_match(tokens, mask, text, text_mask)
    for b in range(3):
        for c in range(2):
            best = [
                max(float(tokens[b, n] @ text[c, t]) for n in range(4) if mask[b, n])
                for t in range(5)
                if text_mask[c, t]
            ]
            assert float(found[b, c]) == pytest.approx(sum(best) / len(best), rel=1e-4)
    everything = token_match(tokens, None, text, text_mask)
    torch.testing.assert_close(everything[0], found[0])
