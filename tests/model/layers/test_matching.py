"""A relation that matches patches where they lie, against a naive loop."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.nn import functional as F

from model.config import RelationConfig
from model.layers.matching import MatchingRelation, nearness_of
from model.types import Encoding

GRID, WIDTH = 4, 8
CONFIG = RelationConfig(kind="matching", width=6, hidden=(5,), radii=(2.0, 0.0))


def encoding(count: int, patches: int, seed: int, masked: int = 0) -> Encoding:
    draws = torch.Generator().manual_seed(seed)
    positions = torch.stack([torch.randperm(GRID**2, generator=draws)[:patches] for _ in range(count)])
    mask = torch.ones(count, 1 + patches, dtype=torch.bool)
    if masked:
        mask[:, -masked:] = False
    return Encoding(
        F.normalize(torch.randn(count, 5, generator=draws), dim=1),
        torch.randn(count, 1 + patches, WIDTH, generator=draws),
        positions,
        mask if masked else None,
    )


def relation() -> MatchingRelation:
    made = MatchingRelation(WIDTH, GRID, CONFIG)
    draws = torch.Generator().manual_seed(9)
    made.mean.copy_(torch.randn(2, WIDTH, generator=draws))
    made.matrix.copy_(torch.randn(WIDTH, CONFIG.width, generator=draws))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return made


def naive(made: MatchingRelation, sketch: Encoding, photo: Encoding) -> list[float]:
    """Features of one pair, patch by patch."""

    def unit(tokens: torch.Tensor, side: int) -> torch.Tensor:
        return F.normalize((tokens[1:] - made.mean[side]) @ made.matrix, dim=-1)

    ours, theirs = unit(sketch.tokens[0], 0), unit(photo.tokens[0], 1)
    real = [range(len(part)) for part in (ours, theirs)]
    if photo.mask is not None:
        real[1] = range(int(photo.mask[0].sum()) - 1)

    def match(i: int, j: int, radius: float) -> float:
        one, other = int(sketch.positions[0, i]), int(photo.positions[0, j])
        square = (one // GRID - other // GRID) ** 2 + (one % GRID - other % GRID) ** 2
        near = math.exp(-square / (2 * radius**2)) if radius else 1.0
        return float(ours[i] @ theirs[j]) * near

    found = [sum(max(match(i, j, r) for j in real[1]) for i in real[0]) / len(real[0]) for r in CONFIG.radii]
    found += [sum(max(match(i, j, r) for i in real[0]) for j in real[1]) / len(real[1]) for r in CONFIG.radii]
    return [*found, float(sketch.descriptor[0] @ photo.descriptor[0])]


def test_features_equal_a_loop_over_patches_masked_ones_left_out():
    made = relation()
    for masked in (0, 2):
        sketch, photos = encoding(1, 5, seed=1), encoding(3, 7, seed=2, masked=masked)
        own, theirs = made.side(sketch, "sketch"), made.side(photos, "photo")
        logit, kernel = made(own, theirs)
        features = made.features(own, theirs, kernel)
        for number in range(3):
            expected = naive(made, sketch, photos[number : number + 1])
            torch.testing.assert_close(features[number], torch.tensor(expected), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logit, made.read(features))


def test_it_starts_from_best_matches_of_sketch_patches_alone():
    made = MatchingRelation(WIDTH, GRID, CONFIG)
    own, theirs = made.side(encoding(1, 5, seed=1), "sketch"), made.side(encoding(4, 7, seed=2), "photo")
    logit, kernel = made(own, theirs)
    first = made.features(own, theirs, kernel)[:, 0]
    torch.testing.assert_close(logit.argsort(), first.argsort())


def test_nearness_is_one_in_place_and_everywhere_without_a_radius():
    near = nearness_of(GRID, (1.5, 0.0))
    torch.testing.assert_close(near[0].diagonal(), torch.ones(GRID**2))
    torch.testing.assert_close(near[0, 0, 1], torch.tensor(math.exp(-1 / 4.5)))
    assert bool((near[1] == 1).all())


def test_a_pair_does_not_depend_on_the_pairs_beside_it():
    made = relation()
    sketch, photos = encoding(1, 5, seed=3), encoding(6, 7, seed=4)
    own, theirs = made.side(sketch, "sketch"), made.side(photos, "photo")
    whole, _ = made(own, theirs)
    single = torch.cat([made(own, made.side(photos[n : n + 1], "photo"))[0] for n in range(6)])
    torch.testing.assert_close(whole, single)
    padded = made(own, made.side(replace(photos.padded(12)), "photo"))[0]
    torch.testing.assert_close(whole, padded)
