"""What a step learns from drawings that have a photo of their own."""

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.training.config import LossWeights
from model.training.drawn import UNKNOWN, Drawn, OwnPhotos
from model.training.material.batches import BatchMaker
from model.training.objectives.losses import relation_rank, supervised_contrastive
from model.training.objectives.objective import Batch, ContrastiveObjective, Semantics
from model.types import Encoding
from tests.model.training.conftest import tiny

WEIGHTS = LossWeights(text=0.0, distil=0.0, own=0.3, rank_own=0.5)
LABELS, EXTRA = [0, 0, 1, 1], [2]  # of four sketches and photos, and of a sketch without photos
CATEGORIES, CLASSES = 3, 7


class Lines(nn.Module):
    """A network of straight lines: its descriptors and logits differ widely between images."""

    descriptor_size = 6

    def __init__(self):
        super().__init__()
        self.sketch_side, self.photo_side = (nn.Linear(48, self.descriptor_size) for _ in range(2))
        for number, parameter in enumerate(self.parameters()):
            parameter.data.copy_(torch.randn(parameter.shape, generator=draws(10 + number)))

    def encode_sketch(self, pixels):
        return self.encoding(self.sketch_side(pixels.flatten(1)))

    def encode_photo(self, pixels):
        return self.encoding(self.photo_side(pixels.flatten(1)))

    def encoding(self, values):
        return Encoding(F.normalize(values, dim=1), values[:, None], torch.zeros(len(values), 0, dtype=torch.int64))

    def relate_aligned(self, sketches, photos):
        return (
            (sketches.tokens * photos.tokens.roll(1, 2)).sum(dim=(1, 2)) / 20,
            sketches.tokens[:, 0],
            photos.tokens[:, 0],
        )

    def logits(self, sketches, photos):
        """[S, P] of every pair."""
        rows = [self.relate_aligned(sketches[[s] * len(photos)], photos)[0] for s in range(len(sketches))]
        return torch.stack(rows)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(count, seed):
    return torch.randn(count, 3, 4, 4, generator=draws(seed))


def drawn_of(targets=True):
    """A drawing of the second photo, one of a known pair behind the four, and one of a photo without a category."""
    soft = torch.rand(5, CLASSES, generator=draws(4)).softmax(dim=1)
    return Drawn(
        drawings=pixels(3, 3),
        photos=pixels(2, 4),
        own=torch.tensor([1, 4, 5]),
        labels=torch.tensor([0, 1, UNKNOWN]),
        photo_labels=torch.tensor([1, UNKNOWN]),
        targets=soft[:3] if targets else None,
        photo_targets=soft[3:] if targets else None,
    )


def batch_of(drawn, targets=True):
    soft = torch.rand(9, CLASSES, generator=draws(5)).softmax(dim=1)
    return Batch(
        sketches=pixels(5, 1),
        photos=pixels(4, 2),
        labels=torch.tensor(LABELS),
        extra_labels=torch.tensor(EXTRA),
        sketch_targets=soft[:5] if targets else None,
        photo_targets=soft[5:] if targets else None,
        drawn=drawn,
    )


def objective_of(weights=WEIGHTS, classes=0, **changes):
    config = tiny(weights=weights, contours=1, **changes)
    network: Any = Lines()
    return ContrastiveObjective(network, CATEGORIES, config, Semantics(classes=classes))


@torch.no_grad()
def encoded(objective, batch):
    """All sketches, the drawings behind them, and all photos, the drawings' behind them."""
    network = objective.network
    return (
        network.encode_sketch(torch.cat([batch.sketches, batch.drawn.drawings])),
        network.encode_photo(torch.cat([batch.photos, batch.drawn.photos])),
    )


def test_a_drawing_finds_its_own_photo_among_all_of_the_step():
    objective, batch = objective_of(), batch_of(drawn_of())
    terms = objective(batch, draws())
    sketches, photos = encoded(objective, batch)
    expected = 0.0
    for row, own in enumerate(batch.drawn.own.tolist()):
        logits = [float(sketches.descriptor[5 + row] @ photo) / 0.07 for photo in photos.descriptor]
        largest = max(logits)
        expected -= (logits[own] - largest - math.log(sum(math.exp(value - largest) for value in logits))) / 3
    assert len(photos) == 6
    assert float(terms["own"].detach()) == pytest.approx(expected, rel=1e-3)


def test_the_relation_ranks_the_own_photo_before_others_of_any_category():
    """With as many wrong photos as there are, which ones are drawn does not matter."""
    objective, batch = objective_of(hard=5, easy=0), batch_of(drawn_of())
    found = objective(batch, draws())["rank_own"]
    sketches, photos = encoded(objective, batch)
    with torch.no_grad():
        logit = objective.network.logits(sketches[5:], photos)
    order = [[own, *(p for p in range(6) if p != own)] for own in batch.drawn.own.tolist()]
    expected = relation_rank(logit.gather(1, torch.tensor(order)))
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=1e-4)


def test_beside_the_cosine_the_relation_learns_what_the_descriptor_lacks():
    batch = batch_of(drawn_of())
    objective = objective_of(hard=5, easy=0, beside=8.0)
    found = objective(batch, draws())["rank_own"]
    sketches, photos = encoded(objective, batch)
    with torch.no_grad():
        logit = objective.network.logits(sketches[5:], photos)
        cosine = sketches.descriptor[5:] @ photos.descriptor.T
    order = torch.tensor([[own, *(p for p in range(6) if p != own)] for own in batch.drawn.own.tolist()])
    alone, both = (relation_rank(scores.gather(1, order)) for scores in (logit, logit + 8 * cosine))
    assert abs(float(alone - both)) > 0.1
    torch.testing.assert_close(found.detach(), (alone + both) / 2, rtol=1e-3, atol=1e-4)


def test_contrast_pairs_a_photo_without_a_category_with_its_drawing_alone():
    objective, batch = objective_of(), batch_of(drawn_of())
    found = objective(batch, draws())["contrast"]
    sketches, photos = encoded(objective, batch)
    # Four sketches, one of category 2 and three drawings; four photos, and two of the drawings. The last drawing and
    # the last photo share a label of their own.
    labels = torch.tensor([0, 0, 1, 1, 2, 0, 1, 99, 0, 0, 1, 1, 1, 99])
    every = torch.cat([sketches.descriptor, photos.descriptor])
    torch.testing.assert_close(
        found.detach(), supervised_contrastive(every, labels, 0.1).detach(), rtol=1e-3, atol=1e-4
    )


def test_what_has_no_category_is_not_classified():
    objective, batch = objective_of(), batch_of(drawn_of())
    found = objective(batch, draws())["classify"]
    sketches, photos = encoded(objective, batch)
    known = torch.cat([sketches.descriptor[:7], photos.descriptor[:5]])
    labels = torch.tensor([0, 0, 1, 1, 2, 0, 1, 0, 0, 1, 1, 1])
    logits = objective.config.scale * known @ F.normalize(objective.prototypes, dim=1).T
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-3, atol=1e-4)


def test_every_image_is_taught_by_its_own_soft_target():
    objective = objective_of(replace(WEIGHTS, distil=1.0), classes=CLASSES)
    batch = batch_of(drawn_of())
    found = objective(batch, draws())["distil"]
    sketches, photos = encoded(objective, batch)
    drawn, expected = batch.drawn, 0.0
    rows = [
        *zip(sketches.descriptor, torch.cat([batch.sketch_targets, drawn.targets]), strict=True),
        *zip(photos.descriptor, torch.cat([batch.photo_targets, drawn.photo_targets]), strict=True),
    ]
    with torch.no_grad():
        for descriptor, target in rows:
            logits = objective.class_scale * objective.classes(descriptor)
            expected -= float((target * logits.log_softmax(0)).sum()) / len(rows)
    assert len(rows) == 14
    assert float(found.detach()) == pytest.approx(expected, rel=1e-3)


def test_targets_that_some_images_lack_teach_nothing():
    objective = objective_of(replace(WEIGHTS, distil=1.0), classes=CLASSES)
    assert "distil" not in objective(batch_of(drawn_of(targets=False)), draws())


def test_a_step_without_drawings_has_no_term_of_theirs():
    empty, none = pixels(0, 1), torch.zeros(0, dtype=torch.int64)
    nothing = Drawn(empty, empty, none, none, none, None, None)
    for drawn in (None, nothing):
        terms = objective_of()(batch_of(drawn, targets=False), draws())
        assert {"own", "rank_own"}.isdisjoint(terms)
        assert all(bool(term.isfinite()) for term in terms.values())


def test_a_batch_with_drawings_reaches_the_whole_network(material):
    config = tiny(weights=WEIGHTS, contours=3, pairs=2, undrawn=2, beside=8.0)
    pairs = torch.tensor([[row, row] for row in range(len(material.sketches))])
    known = replace(material, own_photos=OwnPhotos(pairs, undrawn=material.photos))
    maker = BatchMaker(known, ZSE_TINY.preprocess, config)
    batch, again = (cast(Any, maker.make(1, 0)) for _ in range(2))
    assert len(batch.drawn.drawings) == 7
    assert torch.equal(batch.drawn.drawings, again.drawn.drawings)
    assert torch.equal(batch.photos, again.photos)
    varied: Any = BatchMaker(known, ZSE_TINY.preprocess, replace(config, variation=1)).make(1, 0)
    assert not torch.equal(varied.photos, batch.photos)
    network: Any = build_network(ZSE_TINY, seed=0)
    objective = ContrastiveObjective(network, len(material.categories), config, Semantics())
    terms = objective(batch, draws())
    assert terms.keys() == {"contrast", "classify", "rank", "decide", "own", "rank_own"}
    total = objective.total(terms)
    expected = sum(getattr(WEIGHTS, name) * float(term.detach()) for name, term in terms.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    total.backward()
    for name in ("own", "rank_own"):
        assert bool(terms[name].isfinite())
    gradient = [p.grad for p in network.encoder.parameters() if p.grad is not None]
    assert gradient
    assert all(bool(part.isfinite().all()) for part in gradient)
