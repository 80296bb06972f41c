"""Validation on held-out seen categories: how well descriptor and relation rank photos of categories not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.data.items import Dataset
from model.errors import DatasetError
from model.evaluation.arms import expanded_queries
from model.evaluation.calibrate import ChosenRule, choose_score_rule
from model.evaluation.metrics import average_precision, hit_at, precision_at, rank_photos
from model.evaluation.protocols import tie_order
from model.networks.network import Network
from model.score_rules import ExpansionRule
from model.training.material.material import Material, load_material
from model.types import Encoding

EXPANSION = ExpansionRule(neighbours=5, weight=1.0)  # what validation weighs against none


@dataclass(frozen=True)
class Validation:
    """Quality on the validation categories, each figure the mean over sketches.

    Attributes:
        map_recall, precision_recall: mAP@all and P@100 when photos are ranked by the descriptor.
        map_relation, precision_relation: the same by the relation logit, over every pair.
        logits, cosines, relevant: [Q, P] on the CPU, for choosing the score rule.
        expanded: [Q, P] cosines of the queries expanded by `EXPANSION`.
        photos: [P, E] their descriptors.
        order: [P] int64, which of two photos with equal scores comes first.
    """

    map_recall: float
    precision_recall: float
    map_relation: float
    precision_relation: float
    logits: Tensor
    cosines: Tensor
    expanded: Tensor
    photos: Tensor
    relevant: Tensor
    order: Tensor

    @property
    def quality(self) -> float:
        """What runs are compared by: mAP@all of the better of the two rankings."""
        return max(self.map_recall, self.map_relation)

    def figures(self) -> dict[str, float]:
        """The scalars by name."""
        names = ("map_recall", "precision_recall", "map_relation", "precision_relation")
        values = {name: getattr(self, name) for name in names}
        for arm, scores in (("recall", self.cosines), ("expanded", self.expanded), ("relation", self.logits)):
            values |= {
                f"{name}_{arm}": value for name, value in first_places(scores, self.relevant, self.order).items()
            }
        return {name: round(value, 5) for name, value in values.items()}

    def choose_rule(self) -> ChosenRule:
        """The score rule that shows a person most of these categories, query expansion included."""
        cosines = {ExpansionRule(): self.cosines, EXPANSION: self.expanded}
        return choose_score_rule(self.logits, cosines, self.relevant, self.order, photos=self.photos)


def load_validation(
    dataset: Dataset,
    preprocess: PreprocessConfig,
    cache: Path | None,
    device: torch.device,
    report: Callable[[dict[str, Any]], None],
) -> Material:
    """Decode the images to validate on; those that cannot be used are reported as "left_out".

    Args:
        dataset: of the validation categories.
        preprocess: the network's.
        cache: folder for decoded images.
        device: where they are encoded.
        report: as that of a run.

    Raises:
        DatasetError: a category has no sketch or no photo that can be used.
    """
    doing = {"doing": "reading validation categories", "total": 1}
    report({**doing, "done": 0})
    material = load_material(dataset, None, preprocess, side=preprocess.image_size, device=device, cache=cache)
    report({**doing, "done": 1})
    if material.skipped:
        report({"left_out": list(material.skipped)})
    lacking = [
        f"no {kind} of {name}"
        for kind, images in (("sketch", material.sketches), ("photo", material.photos))
        for label, name in enumerate(material.categories)
        if not bool((images.labels == label).any())
    ]
    if lacking:
        raise DatasetError(
            f"there is {', '.join(lacking)} to validate on; mend what cannot be used or hold out other categories"
            + "".join(f"; {sentence}" for sentence in material.skipped[:5])
        )
    return material


@torch.inference_mode()
def validate(network: Network, sketches: ImageArrays, photos: ImageArrays, *, batch: int = 128) -> Validation:
    """Rank all photos for every sketch by descriptor and by relation, in the network's own arithmetic.

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
    descriptors = sketch.descriptor.cpu(), photo.descriptor.cpu()
    cosines = descriptors[0] @ descriptors[1].T
    logits = network.relate(sketch, photo).logit.cpu()
    relevant = (sketches.labels[:, None] == photos.labels[None, :]).cpu()
    order = tie_order(photos.items)
    return Validation(
        *mean_quality(cosines, relevant, order),
        *mean_quality(logits, relevant, order),
        logits,
        cosines,
        expanded_queries(*descriptors, order, EXPANSION) @ descriptors[1].T,
        descriptors[1],
        relevant,
        order,
    )


def mean_quality(scores: Tensor, relevant: Tensor, order: Tensor) -> tuple[float, float]:
    """mAP@all and P@100 of scores [Q, P] against relevance [Q, P]; `order` [P] decides between equal scores."""
    hits = relevant.gather(1, rank_photos(scores, order))
    count = relevant.sum(dim=1)
    return float(average_precision(hits, count).nanmean()), float(precision_at(hits, count, 100).nanmean())


def first_places(scores: Tensor, relevant: Tensor, order: Tensor) -> dict[str, float]:
    """What a person sees of scores [Q, P] against relevance [Q, P]: P@10, hit@1 and hit@5, means over sketches."""
    hits = relevant.gather(1, rank_photos(scores, order, 10))
    count = relevant.sum(dim=1)
    return {
        "precision_10": float(precision_at(hits, count, 10).nanmean()),
        "hit_1": float(hit_at(hits, count, 1).nanmean()),
        "hit_5": float(hit_at(hits, count, 5).nanmean()),
    }
