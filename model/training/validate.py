"""Validation on held-out seen categories: how well descriptor and relation rank photos of categories not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.evaluation.metrics import average_precision, precision_at
from model.network import Network
from model.types import Encoding


@dataclass(frozen=True)
class Validation:
    """Quality on the validation categories, each figure the mean over sketches.

    Attributes:
        map_recall, precision_recall: mAP@all and P@100 when photos are ranked by the descriptor.
        map_relation, precision_relation: the same by the relation logit, over every pair.
        logits, cosines, relevant: [Q, P], for calibrating the score rule.
    """

    map_recall: float
    precision_recall: float
    map_relation: float
    precision_relation: float
    logits: Tensor
    cosines: Tensor
    relevant: Tensor


@torch.inference_mode()
def validate(network: Network, sketches: ImageArrays, photos: ImageArrays, *, batch: int = 128) -> Validation:
    """Rank all photos for every sketch by descriptor and by relation.

    Args:
        network: in evaluation mode.
        sketches, photos: of the validation categories, labelled alike.
        batch: images encoded at once.
    """
    sketch = Encoding.concatenate(
        [network.encode_sketch(plain(part, network.preprocess)) for part in torch.split(sketches.pixels, batch)]
    )
    photo = Encoding.concatenate(
        [network.encode_photo(plain(part, network.preprocess)) for part in torch.split(photos.pixels, batch)]
    )
    cosines = sketch.descriptor @ photo.descriptor.T
    logits = network.relate(sketch, photo).logit
    relevant = sketches.labels[:, None] == photos.labels[None, :]
    map_recall, precision_recall = mean_quality(cosines, relevant)
    map_relation, precision_relation = mean_quality(logits, relevant)
    return Validation(map_recall, precision_recall, map_relation, precision_relation, logits, cosines, relevant)


def mean_quality(scores: Tensor, relevant: Tensor) -> tuple[float, float]:
    """mAP@all and P@100 of scores [Q, P] against relevance [Q, P]."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    hits = relevant.gather(1, order)
    count = relevant.sum(dim=1)
    return (
        float(average_precision(hits, count).nanmean()),
        float(precision_at(hits, count, 100).nanmean()),
    )


def calibrate(validation: Validation) -> tuple[float, float]:
    """The fusion weight of the cosine beside the relation logit that ranks validation categories best.

    Returns:
        the cosine's weight w in `logit + w * cosine` (0: relation alone), and the mAP@all that it reaches.
    """
    best = (0.0, validation.map_relation)
    for weight in (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0):
        fused = validation.logits + weight * validation.cosines
        quality, _ = mean_quality(fused, validation.relevant)
        if quality > best[1]:
            best = (weight, quality)
    return best
