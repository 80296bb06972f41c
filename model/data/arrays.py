"""Decodes a dataset once into arrays of bytes, cached on disk, so that training keeps every image in memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import PreprocessConfig
from model.data.items import Dataset, Item, Modality
from model.data.unusable import unusable_error, why_unusable
from model.errors import DatasetError, SketchseekError
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, draw_strokes, photo_image, sketch_image
from model.whole_file import whole_file, write_whole

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
_FORMAT = 3  # raise when the same files would be decoded to other bytes, or others count as blank
CHANNELS: dict[Modality, int] = {"sketch": 1, "photo": 3}


@dataclass(frozen=True)
class ImageArrays:
    """Decoded images of one modality.

    Attributes:
        pixels: [N, C, S, S] uint8; C = 1 for sketches (dark lines on a light ground), 3 for photos (RGB).
        labels: [N] int64, indices into `categories`.
        items: the N images.
        categories: names, as the dataset lists them.
        skipped: one sentence on each image that could not be used and was left out.
    """

    pixels: Tensor
    labels: Tensor
    items: tuple[Item, ...]
    categories: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device | str) -> ImageArrays:
        """The same with pixels and labels on `device`."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def rows(self, rows: Sequence[int]) -> ImageArrays:
        """Some of the images, in the order asked for."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.pixels.device)
        return replace(
            self, pixels=self.pixels[index], labels=self.labels[index], items=tuple(self.items[row] for row in rows)
        )


def decode(
    dataset: Dataset,
    modality: Modality,
    config: PreprocessConfig,
    *,
    cache: Path | None = None,
    workers: int = 0,
    skip_damaged: bool = False,
    progress: Progress | None = None,
) -> ImageArrays:
    """The dataset's sketches or photos, prepared as `model.images.preprocess` prepares them for the network.

    Args:
        dataset: its `categories` give the labels.
        modality: which of its images.
        config: gives the side S and the fit. For training with random crops ask for a side above the network's.
        cache: folder of decoded arrays; they are found again by the images' content, whatever their paths. None decodes
            anew and keeps nothing.
        workers: threads; 0 takes one per CPU core.
        skip_damaged: leave missing, damaged and blank images out, and tell them in `skipped` and the log.
        progress: called with (done, total) as images are decoded.

    Raises:
        DatasetError: images are missing, damaged or blank; the message names them. With `skip_damaged`, all of them.
    """
    items = dataset.sketches if modality == "sketch" else dataset.photos
    if not items:
        raise DatasetError(f"{dataset.name or 'the dataset'} holds no {modality}")
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        path = None if cache is None else cache / f"{modality}-{_content_key(items, config, pool)}.npy"
        pixels, damaged = _cached(path, _shape(items, modality, config)) or _decoded(items, config, pool, progress)
    if damaged and (not skip_damaged or len(damaged) == len(items)):
        raise unusable_error(items, damaged)
    sentences = [why_unusable(items[row], reason) for row, reason in damaged.items()]
    for sentence in sentences:
        _log.warning("left out %s", sentence)
    if path is not None and not path.is_file():
        _store(path, pixels, damaged)
    labels = torch.tensor([dataset.label(item) for item in items])
    arrays = ImageArrays(torch.from_numpy(pixels), labels, items, dataset.categories, tuple(sentences))
    return arrays.rows([row for row in range(len(items)) if row not in damaged]) if damaged else arrays


def decode_item(item: Item, config: PreprocessConfig) -> NDArray[np.uint8]:
    """[C, S, S] uint8 of one image, or of one drawing's strokes.

    Raises:
        SketchseekError: the image is missing, damaged or blank.
    """
    if item.strokes is not None:
        return _grey(np.asarray(sketch_image(draw_strokes(item.strokes), config).convert("L")))
    if item.modality == "sketch":
        sketch = open_image(item.path, longest_side=SKETCH_LONGEST_SIDE, whole=True)
        return _grey(np.asarray(sketch_image(sketch, config).convert("L")))
    image = photo_image(open_image(item.path, longest_side=config.image_size, whole=True), config)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None]


def _shape(items: Sequence[Item], modality: Modality, config: PreprocessConfig) -> tuple[int, int, int, int]:
    return (len(items), CHANNELS[modality], config.image_size, config.image_size)


def _decoded(
    items: Sequence[Item], config: PreprocessConfig, pool: ThreadPoolExecutor, progress: Progress | None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The images' pixels [N, C, S, S], and why some could not be had: row -> reason."""
    pixels = np.zeros(_shape(items, items[0].modality, config), np.uint8)
    damaged: dict[int, str] = {}

    def fill(row: int) -> str | None:
        try:
            pixels[row] = decode_item(items[row], config)
        except SketchseekError as error:
            return str(error)
        return None

    for row, reason in enumerate(pool.map(fill, range(len(items)))):
        if reason is not None:
            damaged[row] = reason
        if progress is not None:
            progress(row + 1, len(items))
    return pixels, damaged


def _content_key(items: Sequence[Item], config: PreprocessConfig, pool: ThreadPoolExecutor) -> str:
    """Changes with any image's content, their order, the preprocessing and the format."""

    def digest(item: Item) -> bytes:
        if item.strokes is not None:
            return hashlib.sha256(json.dumps(item.strokes).encode()).digest()
        try:
            return hashlib.sha256(item.path.read_bytes()).digest()
        except OSError:
            return b""  # decoding will name it

    whole = hashlib.sha256(f"{_FORMAT} {config.identity}".encode())
    for part in pool.map(digest, items):
        whole.update(part)
    return whole.hexdigest()[:20]


def _cached(path: Path | None, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    if path is None or not path.is_file():
        return None
    try:
        # copy-on-write: pages are read when used and the file never changes
        pixels: NDArray[np.uint8] = np.load(path, mmap_mode="c")
        damaged = json.loads(_damage_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError):
        path.unlink(missing_ok=True)  # damaged: decoded and written anew
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        path.unlink(missing_ok=True)
        return None
    return pixels, {int(row): reason for row, reason in damaged.items()}


def _damage_file(path: Path) -> Path:
    return path.with_suffix(".json")


def _store(path: Path, pixels: NDArray[np.uint8], damaged: dict[int, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(_damage_file(path), json.dumps(damaged))
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, pixels)
