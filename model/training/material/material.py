"""What a run trains on: decoded images on the device, the categories' names and the starting backbone's predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model.config import PreprocessConfig
from model.data.arrays import ImageArrays, decode
from model.data.items import Dataset, Modality
from model.data.pairs import Pairs
from model.errors import DatasetError
from model.training.drawn import OwnPhotos
from model.training.material.name_embeddings import embed_names, imagenet_names
from model.training.material.teacher import category_means, object_maps, predictions, targets_from_names

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Material:
    """Training images of C categories.

    Attributes:
        sketches, photos: decoded images, labelled in `categories`; labels on the device, pixels where there is room.
        extra: sketches of categories without photos, labelled in `categories` too, or None.
        categories: C names.
        names: [C, T] embeddings of the names, or None.
        photo_targets: [Np, K] the starting backbone's predictions per photo, or None.
        sketch_targets: [C, K] the same per category, or None.
        own_photos: what is known of drawings with a photo of their own, or None.
    """

    sketches: ImageArrays
    photos: ImageArrays
    extra: ImageArrays | None
    categories: tuple[str, ...]
    names: Tensor | None = None
    photo_targets: Tensor | None = None
    sketch_targets: Tensor | None = None
    own_photos: OwnPhotos | None = None

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self.photos.labels.device

    @property
    def skipped(self) -> tuple[str, ...]:
        """One sentence on each image that was left out."""
        return tuple(
            sentence
            for part in (self.sketches, self.photos, self.extra)
            if part is not None
            for sentence in part.skipped
        )


def load_material(
    dataset: Dataset,
    extra: Dataset | None,
    preprocess: PreprocessConfig,
    *,
    side: int,
    device: torch.device,
    cache: Path | None,
    progress: Progress | None = None,
) -> Material:
    """Decode a dataset for training.

    Args:
        dataset: sketches and photos.
        extra: more sketches, of any category; those without a photo in `dataset` train the sketch side alone.
        preprocess: the network's; images are decoded at `side` pixels, so that crops do not enlarge them.
        side: of the decoded images.
        device: where batches are made. Images are kept there, or in main memory where they would take more than half of
            a GPU's free memory.
        cache: folder for decoded images.
        progress: called with what is done, how many are done, and how many there are.

    Raises:
        DatasetError: there are no sketches or no photos, or images are damaged.
    """
    whole = dataset if extra is None else dataset.joined(extra)
    decoding = replace(preprocess, image_size=side)

    def decoded(part: Dataset, modality: Modality, what: str) -> ImageArrays:
        tell = None if progress is None else (lambda done, total: progress(f"decoding {what}", done, total))
        arrays = decode(part, modality, decoding, cache=cache, skip_damaged=True, progress=tell)
        labels = torch.tensor([whole.label(item) for item in arrays.items])
        return replace(arrays, labels=labels, categories=whole.categories)

    paired = {whole.label(item) for item in dataset.photos}
    if extra is not None:
        dataset = dataset.joined(extra.where(lambda item: whole.label(item) in paired))
        extra = extra.where(lambda item: whole.label(item) not in paired)
    material = Material(
        sketches=decoded(dataset, "sketch", "sketches"),
        photos=decoded(dataset, "photo", "photos"),
        extra=decoded(extra, "sketch", "extra sketches") if extra is not None and extra.items else None,
        categories=whole.categories,
    )
    return _placed(material, device)


def _placed(material: Material, device: torch.device) -> Material:
    """Labels on the device, and pixels as well if all of them fit."""
    parts = {name: getattr(material, name) for name in ("sketches", "photos", "extra")}
    needed = sum(part.pixels.nbytes for part in parts.values() if part is not None)
    fits = device.type != "cuda" or needed <= torch.cuda.mem_get_info(device)[0] / 2
    moved = {
        name: part.to(device) if fits else replace(part, labels=part.labels.to(device))
        for name, part in parts.items()
        if part is not None
    }
    return replace(material, **moved)


def with_own_photos(
    material: Material,
    pairs: Pairs | None,
    undrawn: Dataset | None,
    preprocess: PreprocessConfig,
    *,
    side: int,
    cache: Path | None,
    progress: Progress | None = None,
) -> Material:
    """The same with what is known of drawings and their own photos.

    Args:
        material: its sketches and photos hold the pairs'; a pair of which one image is not there is left out.
        pairs: drawings with the photo that each was made from, or None.
        undrawn: photos without drawings, or None.
        preprocess, side, cache, progress: as for `load_material`.
    """
    own = OwnPhotos(_pair_rows(material, pairs))
    if undrawn is not None and undrawn.photos:
        tell = (
            None
            if progress is None
            else (lambda done, total: progress("decoding photos without drawings", done, total))
        )
        decoding = replace(preprocess, image_size=side)
        images = decode(undrawn, "photo", decoding, cache=cache, skip_damaged=True, progress=tell)
        there = material.photos.pixels.device
        own = replace(
            own, undrawn=replace(images, pixels=images.pixels.to(there), labels=images.labels.to(material.device))
        )
    return replace(material, own_photos=own)


def _pair_rows(material: Material, pairs: Pairs | None) -> Tensor:
    """[N, 2] int64: rows of the sketches and photos of pairs, as far as both were decoded."""
    if pairs is None:
        return torch.zeros(0, 2, dtype=torch.int64)
    sketches, photos = (
        {item.path: row for row, item in enumerate(images.items)} for images in (material.sketches, material.photos)
    )
    rows = [
        (sketches[sketch.path], photos[pairs.photos[own].path])
        for sketch, own in zip(pairs.sketches, pairs.own_photo, strict=True)
        if sketch.path in sketches and pairs.photos[own].path in photos
    ]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)


def with_names(material: Material, cache: Path | None) -> Material:
    """The same with embeddings of the categories' names."""
    return replace(material, names=embed_names(material.categories, cache).to(material.device))


def with_teacher(
    material: Material, classifier: nn.Module, preprocess: PreprocessConfig, names: Path | None
) -> Material:
    """The same with the starting backbone's predictions as soft targets.

    Args:
        material: images and, where categories have no photos, embeddings of their names.
        classifier: the backbone with its head.
        preprocess: of its input.
        names: file of names' embeddings.

    Raises:
        DatasetError: categories have no photos, and there are no embeddings of their names.
    """
    photos = material.photos
    device = material.device
    targets = predictions(classifier, photos.pixels, preprocess, device)
    means, known = category_means(targets, photos.labels, len(material.categories))
    if not bool(known.all()):
        if material.names is None:
            raise DatasetError(
                "categories without photos need the names' embeddings to be taught; turn on the text loss"
            )
        named = targets_from_names(material.names, embed_names(imagenet_names(), names).to(device))
        means = torch.where(known[:, None], means, named)
    return replace(material, photo_targets=targets, sketch_targets=means)


def with_objects(material: Material, classifier: nn.Module, preprocess: PreprocessConfig) -> Material:
    """The same with where the starting backbone sees an object in each photo, and what it says of undrawn photos."""
    own, device = material.own_photos, material.device
    if own is None:
        return material
    own = replace(own, objects=object_maps(classifier, material.photos.pixels, preprocess, device))
    if own.undrawn is not None:
        own = replace(
            own,
            undrawn_objects=object_maps(classifier, own.undrawn.pixels, preprocess, device),
            undrawn_targets=predictions(classifier, own.undrawn.pixels, preprocess, device),
        )
    return replace(material, own_photos=own)
