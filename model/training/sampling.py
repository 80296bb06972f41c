"""Which images a step sees: every draw depends on (seed, step, rank) alone, so a resumed run repeats and skips none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def generator_for(seed: int, step: int, rank: int, purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that no other step, process or purpose shares."""
    mixed = (((seed * 1_000_003 + step) * 8_191 + rank) * 31 + purpose) % (2**63 - 1)
    return torch.Generator(device=device).manual_seed(mixed)


@dataclass(frozen=True)
class Sample:
    """Rows of one step.

    Attributes:
        sketches, photos: [C * K] int64 rows, category by category.
        labels: [C * K] int64 labels, the same for both.
    """

    sketches: Tensor
    photos: Tensor
    labels: Tensor


class CategorySampler:
    """Draws C categories without replacement, then K sketches and K photos of each.

    Args:
        sketch_labels: [Ns] int64.
        photo_labels: [Np] int64. Only labels that occur in both are drawn.
    """

    def __init__(self, sketch_labels: Tensor, photo_labels: Tensor) -> None:
        both = sorted(set(sketch_labels.tolist()) & set(photo_labels.tolist()))
        self.labels = torch.tensor(both, dtype=torch.int64)
        self._sketches = [torch.nonzero(sketch_labels == label)[:, 0].cpu() for label in both]
        self._photos = [torch.nonzero(photo_labels == label)[:, 0].cpu() for label in both]

    def draw(self, categories: int, per_category: int, generator: torch.Generator) -> Sample:
        """Rows of min(C, all) categories; images repeat only in categories that have fewer than K."""
        chosen = torch.randperm(len(self.labels), generator=generator)[:categories]
        sketches = [_some(self._sketches[c], per_category, generator) for c in chosen.tolist()]
        photos = [_some(self._photos[c], per_category, generator) for c in chosen.tolist()]
        return Sample(torch.cat(sketches), torch.cat(photos), self.labels[chosen].repeat_interleave(per_category))


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(rows) >= count:
        return rows[torch.randperm(len(rows), generator=generator)[:count]]
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def wrong_photos(similarity: Tensor, same: Tensor, hard: int, easy: int, generator: torch.Generator) -> Tensor:
    """For each sketch, photos of other categories that a relation loss should tell apart.

    Args:
        similarity: [S, P] cosine of descriptors.
        same: [S, P] bool, True where the categories agree.
        hard: how many of the most similar wrong photos.
        easy: how many wrong photos at random.
        generator: on the device of `similarity`.

    Returns:
        [S, hard + easy] int64 columns, none of the sketch's own category. Where a sketch has fewer than `hard` (or
        `easy`) wrong photos, so many are taken for every sketch.

    Raises:
        ValueError: a sketch has no wrong photo at all.
    """
    fewest = int((~same).sum(dim=1).min())
    if fewest == 0:
        raise ValueError("every photo is of the same category as one of the sketches")
    nearest = similarity.masked_fill(same, -torch.inf).topk(min(hard, fewest), dim=1).indices
    noise = torch.rand(similarity.shape, generator=generator, device=similarity.device)
    random = noise.masked_fill(same, -1.0).topk(min(easy, fewest), dim=1).indices
    return torch.cat([nearest, random], dim=1)
