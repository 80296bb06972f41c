"""Drawings with a photo of their own: contours computed from photos, and real drawings whose photo is known.

A sketch of a collection says what it shows. A drawing of one particular photo says more: which of two cats it is, and
where its ears are. Three kinds take part in a step: contours of some of the step's photos, drawings of known pairs with
their photos, and contours of photos of which there is no drawing at all, and perhaps not even a category. A drawing and
its photo are mirrored together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.arrays import ImageArrays
from model.data.augment import augment_photos, augment_sketches
from model.data.contours import contours
from model.training.config import TrainConfig

UNKNOWN = -1  # the label of a photo without a category


@dataclass(frozen=True)
class OwnPhotos:
    """What a run knows of drawings and their photos.

    Attributes:
        pairs: [N, 2] int64, a sketch and the photo that it was made from, as rows of the material's; N may be 0.
        undrawn: photos without a drawing, or None.
        undrawn_targets: [U, K] the starting backbone's predictions of them, or None.
        objects: [Np, G, G] how much of an object each cell of the material's photos shows, or None.
        undrawn_objects: the same of `undrawn`.
    """

    pairs: Tensor
    undrawn: ImageArrays | None = None
    undrawn_targets: Tensor | None = None
    objects: Tensor | None = None
    undrawn_objects: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """The drawings of one step that have a photo of their own.

    Attributes:
        drawings: [D, 3, S, S] varied and normalised.
        photos: [M, 3, S, S], photos that the batch does not hold otherwise.
        own: [D] int64, each drawing's photo among the batch's B photos and these M behind them.
        labels: [D] int64 of the drawings, `UNKNOWN` where the photo's category is not known.
        photo_labels: [M] int64, likewise.
        targets: [D, K] soft predictions of the drawings' photos, or None.
        photo_targets: [M, K] of `photos`, or None.
    """

    drawings: Tensor
    photos: Tensor
    own: Tensor
    labels: Tensor
    photo_labels: Tensor
    targets: Tensor | None
    photo_targets: Tensor | None


class DrawnMaker:
    """Makes the drawings of a step.

    Args:
        photos, sketches: of the material.
        photo_targets: [Np, K] or None.
        own_photos: pairs, photos without drawings and where objects are.
        preprocess: the network's, at the side that is trained on.
        config: how many of each kind, and how to vary them.
    """

    def __init__(
        self,
        photos: ImageArrays,
        sketches: ImageArrays,
        photo_targets: Tensor | None,
        own_photos: OwnPhotos,
        *,
        preprocess: PreprocessConfig,
        config: TrainConfig,
    ) -> None:
        self.photos, self.sketches, self.targets = photos, sketches, photo_targets
        self.own_photos = own_photos
        self.preprocess, self.config = preprocess, config
        self.device = photos.labels.device
        self.sketch_strength = replace(config.sketches, flip=0.0)
        self.photo_strength = replace(config.photos, flip=0.0)

    def make(
        self, pixels: Tensor, rows: Tensor, flipped: Tensor, draws: torch.Generator, noise: torch.Generator
    ) -> Drawn:
        """The drawings of a step.

        Args:
            pixels: [B, 3, H, H] uint8 of the step's photos, before they were mirrored.
            rows: [B] int64 on the CPU, which photos of the material they are.
            flipped: [B] bool, which of them are mirrored.
            draws: on the CPU, of what is drawn.
            noise: on any device, of how it is varied.
        """
        config, own = self.config, self.own_photos
        chosen = torch.randperm(len(rows), generator=draws)[: config.contours]
        there = chosen.to(self.device)
        lines = [self._contours(pixels[there], _some(own.objects, rows[chosen]), flipped[there], noise)]
        labels = [self.photos.labels[rows[chosen].to(self.device)]]
        targets = [_some(self.targets, rows[chosen])]
        places = [there]
        more: list[Tensor] = []
        taken = len(rows)
        pairs = self._pairs(rows, draws)
        if len(pairs):
            mirrored = self._mirrored(len(pairs), noise)
            drawing, photo = self._pixels(self.sketches, pairs[:, 0]), self._pixels(self.photos, pairs[:, 1])
            lines.append(_flipped(drawing, mirrored))
            more.append(_flipped(photo, mirrored))
            labels.append(self.photos.labels[pairs[:, 1].to(self.device)])
            targets.append(_some(self.targets, pairs[:, 1]))
            places.append(torch.arange(taken, taken + len(pairs), device=self.device))
            taken += len(pairs)
        if own.undrawn is not None and config.undrawn:
            some = torch.randperm(len(own.undrawn), generator=draws)[: config.undrawn]
            mirrored = self._mirrored(len(some), noise)
            photo = self._pixels(own.undrawn, some)
            lines.append(self._contours(photo, _some(own.undrawn_objects, some), mirrored, noise))
            more.append(_flipped(photo, mirrored))
            labels.append(torch.full((len(some),), UNKNOWN, device=self.device))
            targets.append(_some(own.undrawn_targets, some))
            places.append(torch.arange(taken, taken + len(some), device=self.device))
        behind = torch.cat([*more, pixels[:0]])
        sizes = [len(part) for part in more]
        return Drawn(
            drawings=augment_sketches(torch.cat(lines), self.preprocess, self.sketch_strength, noise),
            photos=augment_photos(behind, self.preprocess, self.photo_strength, noise),
            own=torch.cat(places),
            labels=torch.cat(labels),
            photo_labels=torch.cat([labels[0][:0], *labels[1:]]) if sizes else labels[0][:0],
            targets=_joined(targets),
            photo_targets=_joined([None if targets[0] is None else targets[0][:0], *targets[1:]]),
        )

    def mirror(self, pixels: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """A step's photos, mirrored with the probability that the configuration gives, and which of them were."""
        flipped = self._mirrored(len(pixels), noise)
        return _flipped(pixels, flipped), flipped

    def _contours(self, pixels: Tensor, objects: Tensor | None, flipped: Tensor, noise: torch.Generator) -> Tensor:
        """[N, 1, H, H] uint8 contours of photos, mirrored where they are."""
        return _flipped(contours(pixels, objects, noise), flipped)

    def _mirrored(self, count: int, noise: torch.Generator) -> Tensor:
        drawn = torch.rand(count, generator=noise, device=noise.device) < self.config.photos.flip
        return drawn.to(self.device)

    def _pairs(self, rows: Tensor, draws: torch.Generator) -> Tensor:
        """[P, 2] int64: some pairs. No two share a photo and none has a photo of the step, its `rows`: a photo that is
        there twice would be right and wrong for one drawing."""
        pairs = self.own_photos.pairs
        order = pairs[torch.randperm(len(pairs), generator=draws)]
        seen: set[int] = set(rows.tolist())
        kept: list[int] = []
        for place, photo in enumerate(order[:, 1].tolist()):
            if len(kept) == self.config.pairs:
                break
            if photo not in seen:
                seen.add(photo)
                kept.append(place)
        return order[kept]

    def _pixels(self, images: ImageArrays, rows: Tensor) -> Tensor:
        return images.pixels[rows.to(images.pixels.device)].to(self.device)


def _flipped(pixels: Tensor, flipped: Tensor) -> Tensor:
    """Images [N, C, H, W], those of a [N] bool mask mirrored left to right."""
    return torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)


def _some(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values[rows.to(values.device)]


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """All parts, or None where one is not known."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None
