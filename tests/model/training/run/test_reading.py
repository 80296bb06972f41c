"""How a matching relation learns to read: its loss against a loop, and a planted reading that it finds."""

import math

import pytest
import torch

from model.config import RelationConfig
from model.errors import ConfigurationError
from model.layers.matching import MatchingRelation
from model.layers.whitening import whitening_of
from model.training.run.reading import PATCH_SHRINKAGE, Shown, fit_patches, fit_reading, reading_loss
from model.types import Encoding

CONFIG = RelationConfig(kind="matching", width=4, hidden=(6,), radii=(2.0, 0.0))
FEATURES = 5


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fresh(width=8, seed=0):
    torch.manual_seed(seed)
    return MatchingRelation(width, 4, CONFIG)


def planted(count, candidates, place, seed, own=True):
    """Sketches whose best candidates are those with the largest values of one feature; the largest is the own photo."""
    features = seeded(count, candidates, FEATURES, seed=seed) * torch.tensor([3.0, 0.1, 1.0, 1.0, 1.0]) + 5
    order = features[..., place].argsort(dim=1, descending=True)
    relevant = torch.zeros(count, candidates, dtype=torch.bool).scatter_(1, order[:, :3], True)  # noqa: FBT003
    first = torch.zeros(count, candidates, dtype=torch.bool)
    return Shown(features, relevant, first.scatter_(1, order[:, :1], own))


def test_the_loss_is_its_definition():
    logit = seeded(4, 5)
    relevant = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0], [0, 1, 0, 0, 0]]).bool()
    own = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    some = each = known = 0.0
    for row in range(4):
        total = sum(math.exp(value) for value in logit[row].tolist())
        chances = [math.exp(value) / total for value in logit[row].tolist()]
        right = [chances[c] for c in range(5) if relevant[row, c]]
        some -= math.log(sum(right)) / 4
        each -= sum(math.log(chance) for chance in right) / len(right) / 4
        known -= sum(math.log(chances[c]) for c in range(5) if own[row, c]) / 2
    assert float(reading_loss(logit, relevant, own)) == pytest.approx((some + each + known) / 3, rel=1e-5)
    nothing = torch.zeros_like(own)
    assert float(reading_loss(logit, relevant, nothing)) == pytest.approx((some + each) / 2, rel=1e-5)


def test_it_learns_a_planted_reading_of_another_feature_than_it_starts_from():
    relation = fresh()
    shown = [planted(300, 12, place=1, seed=1), planted(200, 8, place=1, seed=2, own=False)]
    losses = fit_reading(relation, shown, steps=101, rate=2e-2)
    assert len(losses) == 3
    assert losses[-1] < 0.5 * losses[0]
    unseen = planted(100, 12, place=1, seed=9)
    with torch.no_grad():
        best = relation.read(unseen.features).argmax(dim=1, keepdim=True)
    assert float(unseen.own.gather(1, best).float().mean()) > 0.9
    first = unseen.features[..., 0].argmax(dim=1, keepdim=True)
    assert float(unseen.own.gather(1, first).float().mean()) < 0.3, "what it starts from does not find them"


def test_a_reading_starts_anew_whatever_was_learnt_before():
    shown = [planted(60, 6, place=2, seed=1)]
    one, other = fresh(seed=1), fresh(seed=2)
    fit_reading(other, [planted(60, 6, place=4, seed=3)], steps=3)
    losses = [fit_reading(relation, shown, steps=5, seed=7) for relation in (one, other, fresh())]
    assert losses[0] == losses[1] == losses[2]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
    again = fresh()
    fit_reading(again, shown, steps=5, seed=8)
    assert not torch.equal(again.linear.weight, one.linear.weight)


def test_sketches_without_right_or_wrong_candidates_teach_nothing():
    usual = planted(40, 6, place=1, seed=1)
    odd = planted(30, 6, place=1, seed=2)
    odd.relevant[:15], odd.relevant[15:] = True, False
    one, other = fresh(), fresh()
    fit_reading(one, [usual], steps=3)
    losses = fit_reading(other, [usual, odd], steps=3)
    assert all(map(math.isfinite, losses))
    assert torch.equal(one.linear.weight, other.linear.weight)
    with pytest.raises(ConfigurationError, match="both right and wrong candidates"):
        fit_reading(fresh(), [odd], steps=3)


def encoding(count, seed):
    spread = torch.linspace(3.0, 0.3, 8) @ torch.diag(torch.ones(8))
    return Encoding(
        seeded(count, 5, seed=seed), seeded(count, 7, 8, seed=seed + 1) * spread + seed,
        torch.arange(6).expand(count, -1),
    )  # fmt: skip


def test_patches_are_whitened_along_the_directions_that_vary_most():
    sketches, photos = encoding(60, 1), encoding(50, 4)
    whole = MatchingRelation(8, 4, RelationConfig(kind="matching", width=8, hidden=(6,), radii=(2.0, 0.0)))
    fit_patches(whole, sketches, photos)
    sides = [side.tokens[:, 1:].flatten(0, 1) for side in (sketches, photos)]
    mean, matrix = whitening_of(sides[0], sides[1], PATCH_SHRINKAGE)
    torch.testing.assert_close(whole.mean, mean)
    for number, side in enumerate(sides):
        torch.testing.assert_close(mean[number], side.mean(dim=0))
        compared = (side[:20] - mean[number]) @ matrix
        ours = (side[:20] - whole.mean[number]) @ whole.matrix
        torch.testing.assert_close(ours @ ours.T, compared @ compared.T, rtol=1e-3, atol=1e-3)
    narrow = fresh()
    with torch.no_grad():
        narrow.linear.weight.fill_(3.0)
    fit_patches(narrow, sketches, photos)
    torch.testing.assert_close(narrow.matrix.abs(), whole.matrix[:, :4].abs(), rtol=1e-3, atol=1e-4)
    share = narrow.matrix.square().sum(dim=1) / narrow.matrix.square().sum()
    assert float(share[:4].sum()) > 0.9, "the first four vary most"
    assert narrow.linear.weight[0, 1:].tolist() == [0.0] * (FEATURES - 1), "what was read before is forgotten"
