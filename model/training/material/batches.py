"""The batches of a run: a step's images drawn from its material and varied on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.arrays import ImageArrays
from model.data.augment import augment_photos, augment_sketches
from model.errors import DatasetError
from model.networks.encoder import Features
from model.training.config import TrainConfig
from model.training.drawn import Drawn, DrawnMaker, OwnPhotos
from model.training.material.material import Material
from model.training.material.stored_views import Views
from model.training.objectives.objective import Batch
from model.training.sampling import CategorySampler, generator_for

Progress = Callable[[str, int, int], None]


class BatchMaker:
    """Draws and augments the images of a step.

    Args:
        material: what to draw from.
        preprocess: the network's; `config.image_size` overrules its side.
        config: how to draw and to vary.
        photo_views, sketch_views, extra_views: stored features to draw instead of images, where the configuration asks
            for them.
    """

    def __init__(
        self,
        material: Material,
        preprocess: PreprocessConfig,
        config: TrainConfig,
        *,
        photo_views: Views | None = None,
        sketch_views: Views | None = None,
        extra_views: Views | None = None,
    ) -> None:
        self.material = material
        self.preprocess = training_preprocess(preprocess, config)
        self.config = config
        self.photo_views, self.sketch_views, self.extra_views = photo_views, sketch_views, extra_views
        self.sampler = CategorySampler(material.sketches.labels.cpu(), material.photos.labels.cpu())
        if len(self.sampler.labels) < 2:
            raise DatasetError("training needs at least two categories that have both sketches and photos")
        self.drawn: DrawnMaker | None = None
        if config.draws_own:
            own = material.own_photos or OwnPhotos(torch.zeros(0, 2, dtype=torch.int64))
            self.drawn = DrawnMaker(
                material.photos,
                material.sketches,
                material.photo_targets,
                own,
                preprocess=self.preprocess,
                config=config,
            )

    def make(self, step: int, rank: int) -> Batch:
        """The batch of one step of one process; the same arguments give the same batch."""
        config, material = self.config, self.material
        device = material.device
        draws = generator_for(config.draws_seed, step, rank, purpose=0)
        noise = generator_for(config.draws_seed, step, rank, purpose=1, device=device)
        second = config.objective == "upstream"  # a second sketch per category, behind the first ones
        sample = self.sampler.draw(config.categories, 2 if second else config.per_category, draws)
        labels, rows, photo_rows = sample.labels, sample.sketches, sample.photos
        if second:
            labels, photo_rows = labels[::2], photo_rows[::2]
            rows = torch.cat([rows[::2], rows[1::2]])
        extra_rows = extra_labels = labels[:0]
        if material.extra is not None and config.extra_sketches:
            extra_rows = torch.randint(len(material.extra), (config.extra_sketches,), generator=draws)
            extra_labels = material.extra.labels[extra_rows.to(device)].cpu()
        sketch_labels = torch.cat([labels, extra_labels]).to(device)
        targets, photo_targets = material.sketch_targets, material.photo_targets
        sketches = self._sketches(rows, extra_rows, draws, noise)
        drawn = None
        if self.drawn is None:
            photos = self._photos(photo_rows, draws, noise)
        else:
            photos, drawn = self._photos_and_drawings(self.drawn, photo_rows, draws, noise)
        return Batch(
            sketches=sketches,
            photos=photos,
            labels=labels.to(device),
            extra_labels=extra_labels.to(device),
            sketch_targets=None if targets is None else targets[sketch_labels],
            photo_targets=None if photo_targets is None else photo_targets[photo_rows.to(device)],
            drawn=drawn,
        )

    def _photos_and_drawings(
        self, maker: DrawnMaker, rows: Tensor, draws: torch.Generator, noise: torch.Generator
    ) -> tuple[Tensor, Drawn]:
        """Photos [B, 3, S, S] of some rows, and the step's drawings that have a photo of their own."""
        pixels = self._pixels(self.material.photos, rows)
        mirrored, flipped = maker.mirror(pixels, noise)
        photos = augment_photos(mirrored, self.preprocess, maker.photo_strength, noise)
        return photos, maker.make(pixels, rows, flipped, draws, noise)

    def _sketches(
        self, rows: Tensor, extra_rows: Tensor, draws: torch.Generator, noise: torch.Generator
    ) -> Tensor | Features:
        if self.sketch_views is not None:
            features = self.sketch_views.draw(rows, draws)
            if self.extra_views is None or not len(extra_rows):
                return features
            extra = self.extra_views.draw(extra_rows, draws)
            return Features(torch.cat([features.fine, extra.fine]), torch.cat([features.coarse, extra.coarse]))
        pixels = self._pixels(self.material.sketches, rows)
        if self.material.extra is not None and len(extra_rows):
            pixels = torch.cat([pixels, self._pixels(self.material.extra, extra_rows)])
        return augment_sketches(pixels, self.preprocess, self.config.sketches, noise)

    def _photos(self, rows: Tensor, draws: torch.Generator, noise: torch.Generator) -> Tensor | Features:
        if self.photo_views is not None:
            return self.photo_views.draw(rows, draws)
        pixels = self._pixels(self.material.photos, rows)
        return augment_photos(pixels, self.preprocess, self.config.photos, noise)

    def _pixels(self, images: ImageArrays, rows: Tensor) -> Tensor:
        """The images of some rows (on the CPU), on the device."""
        return images.pixels[rows.to(images.pixels.device)].to(self.material.device)


def training_preprocess(preprocess: PreprocessConfig, config: TrainConfig) -> PreprocessConfig:
    """How training images are prepared: the network's way, at the side that the configuration asks for."""
    return replace(preprocess, image_size=config.image_size or preprocess.image_size)
