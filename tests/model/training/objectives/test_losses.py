"""Losses against naive loops, straight from their formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model.training.objectives.losses import (
    own_photo,
    relation_decide,
    relation_rank,
    soft_cross_entropy,
    supervised_contrastive,
    upstream_relation,
    upstream_triplet,
)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_contrastive_loss_is_its_definition(labels, seed):
    descriptors = F.normalize(seeded(len(labels), 5, seed=seed), dim=1)
    terms = []
    for i, label in enumerate(labels):
        partners = [j for j, other in enumerate(labels) if j != i and other == label]
        if not partners:
            continue
        logits = [float(descriptors[i] @ descriptors[j]) / 0.1 for j in range(len(labels))]
        total = math.log(sum(math.exp(logits[j]) for j in range(len(labels)) if j != i))
        terms.append(-sum(logits[j] - total for j in partners) / len(partners))
    expected = sum(terms) / len(terms) if terms else 0.0
    assert float(supervised_contrastive(descriptors, torch.tensor(labels), 0.1)) == pytest.approx(expected, abs=1e-4)


def test_contrastive_loss_without_any_partner_still_has_a_gradient():
    descriptors = seeded(3, 4).requires_grad_()
    supervised_contrastive(descriptors, torch.arange(3), 0.1).backward()
    assert descriptors.grad is not None
    assert torch.equal(descriptors.grad, torch.zeros(3, 4))


def test_contrastive_gradient_is_finite_and_pulls_partners_together():
    descriptors = F.normalize(seeded(4, 6), dim=1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    loss = supervised_contrastive(descriptors, labels, 0.1)
    loss.backward()
    assert descriptors.grad is not None
    moved = F.normalize(descriptors.detach() - 0.05 * descriptors.grad, dim=1)
    assert bool(torch.isfinite(descriptors.grad).all())
    assert float(supervised_contrastive(moved, labels, 0.1)) < float(loss.detach())


def test_soft_cross_entropy_is_its_definition():
    logits, target = seeded(3, 4), seeded(3, 4, seed=1).softmax(dim=1)
    expected = 0.0
    for row in range(3):
        total = math.log(sum(math.exp(value) for value in logits[row].tolist()))
        expected -= sum(float(target[row, k]) * (float(logits[row, k]) - total) for k in range(4)) / 3
    assert float(soft_cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-5)


def test_relation_losses_are_their_definitions():
    logits = seeded(3, 4)
    rank = decide = 0.0
    for row in logits.tolist():
        rank -= (row[0] - math.log(sum(math.exp(value) for value in row))) / 3
        decide -= math.log(1 / (1 + math.exp(-row[0]))) / 3 / 2
        decide -= sum(math.log(1 - 1 / (1 + math.exp(-value))) for value in row[1:]) / 9 / 2
    assert float(relation_rank(logits)) == pytest.approx(rank, rel=1e-5)
    assert float(relation_decide(logits)) == pytest.approx(decide, rel=1e-5)


def test_relation_losses_stay_finite_for_extreme_logits():
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]])
    assert math.isfinite(float(relation_rank(logits)))
    assert float(relation_decide(logits)) == pytest.approx(100.0)


def test_upstream_losses_are_their_definitions():
    sketch, photo, other = (3 * seeded(4, 6, seed=seed) for seed in range(3))
    right, wrong = seeded(4, seed=3).sigmoid(), seeded(4, seed=4).sigmoid()
    triplet = relation = 0.0
    for row in range(4):
        near, far = (
            math.dist(sketch[row].tolist(), photo[row].tolist()),
            math.dist(sketch[row].tolist(), other[row].tolist()),
        )
        triplet += max(0.0, near - far + 1.0) / 4
        relation += ((float(right[row]) - 0.99) ** 2 + (float(wrong[row]) - 0.01) ** 2) / 8
    assert triplet > 0
    assert float(upstream_triplet(sketch, photo, other)) == pytest.approx(triplet, rel=1e-4)
    assert float(upstream_relation(right, wrong)) == pytest.approx(relation, rel=1e-5)


@given(own=st.lists(st.integers(0, 4), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_loss_of_own_photos_is_its_definition(own, seed):
    similarity = seeded(len(own), 5, seed=seed).tanh()
    expected = 0.0
    for row, right in enumerate(own):
        logits = [value / 0.07 for value in similarity[row].tolist()]
        largest = max(logits)
        total = largest + math.log(sum(math.exp(value - largest) for value in logits))
        expected -= (logits[right] - total) / len(own)
    assert float(own_photo(similarity, torch.tensor(own), 0.07)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
