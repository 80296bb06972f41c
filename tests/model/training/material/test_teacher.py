"""Soft targets against naive loops, and the directions that a classifier reads."""

from typing import Any

import torch
from torch import nn

from model.data.augment import plain
from model.presets import ZSE_TINY
from model.training.material.teacher import (
    category_means,
    leading_directions,
    object_maps,
    semantics_of,
    targets_from_names,
)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_category_means_are_means_over_each_categorys_photos():
    probabilities = seeded(7, 5).softmax(dim=1)
    labels = torch.tensor([0, 2, 2, 0, 2, 4, 4])
    means, known = category_means(probabilities, labels, 5)
    assert known.tolist() == [True, False, True, False, True]
    for category in range(5):
        rows = [probabilities[row] for row in range(7) if labels[row] == category]
        expected = sum(rows) / len(rows) if rows else torch.zeros(5)
        torch.testing.assert_close(means[category], expected)


def test_targets_from_names_favour_near_names():
    names = nn.functional.normalize(seeded(3, 8), dim=1)
    classes = torch.cat([names, nn.functional.normalize(seeded(4, 8, seed=1), dim=1)])
    targets = targets_from_names(names, classes)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))
    assert targets.argmax(dim=1).tolist() == [0, 1, 2]


def test_leading_directions_are_the_best_of_their_number():
    weight = seeded(12, 9)
    centred = weight - weight.mean(dim=0)
    singular = torch.linalg.svdvals(centred)
    for width in (1, 4, 9):
        projection, classifier = leading_directions(weight, width)
        torch.testing.assert_close(projection @ projection.T, torch.eye(width), atol=1e-5, rtol=0)
        torch.testing.assert_close(classifier, weight @ projection.T)
        lost = (centred - centred @ projection.T @ projection).norm()
        torch.testing.assert_close(lost, singular[width:].square().sum().sqrt(), atol=1e-4, rtol=1e-4)


def test_all_directions_keep_the_classifiers_predictions():
    weight, features = seeded(5, 9), seeded(6, 9, seed=1)
    projection, classifier = leading_directions(weight, 4)  # 5 classes differ in 4 directions
    reduced = (features @ projection.T @ classifier.T).softmax(dim=1)
    torch.testing.assert_close(reduced, (features @ weight.T).softmax(dim=1), atol=1e-5, rtol=1e-4)


def test_semantics_read_the_classifier_of_a_backbone():
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(9, 5)

        def get_classifier(self):
            return self.last

    semantics = semantics_of(Backbone(), None, 3)
    assert semantics.classes == 5
    assert semantics.projection is not None
    assert semantics.classifier is not None
    assert semantics.projection.shape == (3, 9)
    assert semantics.classifier.shape == (5, 3)
    torch.testing.assert_close(semantics.classifier.norm(dim=1).mean(), torch.tensor(1.0))


class Mapped(nn.Module):
    """A classifier whose features are its pixels, pooled: cells of 8 px, one feature per channel."""

    def __init__(self, weight, cells=True):
        super().__init__()
        self.head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.head.weight.data.copy_(weight)
        self.cells = cells

    def get_classifier(self):
        return self.head

    def forward_features(self, images):
        features = nn.functional.avg_pool2d(images, 8)
        return features if self.cells else features.flatten(2).transpose(1, 2)

    def forward_head(self, features):
        return self.head(features.mean(dim=(2, 3) if self.cells else 1))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


CPU, PREPROCESS = torch.device("cpu"), ZSE_TINY.preprocess


def test_object_maps_are_the_loop_over_cells():
    pixels = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    pixels[..., 8:24, 32:48] = 255  # so that cells differ
    weight = 4 * seeded(5, 3)
    maps = object_maps(Mapped(weight), pixels, PREPROCESS, CPU, classes=2)
    assert maps is not None
    assert maps.shape == (3, 8, 8)
    for number in range(3):
        features = nn.functional.avg_pool2d(plain(pixels[number : number + 1], PREPROCESS), 8)[0]
        chances = (weight @ features.mean(dim=(1, 2))).softmax(0).tolist()
        best = sorted(range(5), key=lambda k: -chances[k])[:2]
        shown = [
            [max(0.0, sum(chances[k] * float(weight[k] @ features[:, y, x]) for k in best))
             for x in range(8)]
            for y in range(8)
        ]  # fmt: skip
        largest = max(max(row) for row in shown)
        torch.testing.assert_close(maps[number], torch.tensor(shown) / largest, atol=0.05, rtol=0)  # bfloat16
    assert float(maps.min()) >= 0
    torch.testing.assert_close(maps.amax(dim=(1, 2)), torch.ones(3))


def test_an_object_is_found_where_it_is():
    pixels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    pixels[0, 0, 40:56, 8:24] = 255  # red, below on the left
    maps = object_maps(Mapped(torch.tensor([[1.0, 0, 0], [0, 1, 0]])), pixels, PREPROCESS, CPU)
    assert maps is not None, "fewer classes than are asked for"
    assert (maps[0] > 0.5).nonzero().tolist() == [[y, x] for y in (5, 6) for x in (1, 2)]


def test_other_heads_have_no_map():
    pixels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert object_maps(Mapped(seeded(5, 3), cells=False), pixels, PREPROCESS, CPU) is None
    headless: Any = Mapped(seeded(5, 3))
    headless.head = nn.Identity()
    assert object_maps(headless, pixels, PREPROCESS, CPU) is None
