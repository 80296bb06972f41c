"""The whitening of a matching relation's patches, fitted after training."""

import torch

from model.config import RelationConfig
from model.layers.matching import MatchingRelation
from model.layers.whitening import whitening_of
from model.training.run.fit_patches import PATCH_SHRINKAGE, fit_patches
from model.types import Encoding

CONFIG = RelationConfig(kind="matching", width=4, hidden=(6,), radii=(2.0, 0.0))
FEATURES = 5


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fresh(width=8, seed=0):
    torch.manual_seed(seed)
    return MatchingRelation(width, 4, CONFIG)


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
