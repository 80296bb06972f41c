"""Soft targets against naive loops, and the directions that a classifier reads."""

import torch
from torch import nn

from model.training.material.teacher import category_means, leading_directions, semantics_of, targets_from_names


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
