"""Encodes the images of an evaluation, each once, as building a gallery and serving do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.items import Item
from model.data.unusable import unusable_error, why_unusable
from model.errors import SketchseekError
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, draw_strokes, photo_tensor, sketch_tensor
from model.networks.network import Network
from model.types import Encoding

Progress = Callable[[int, int], None]
_AHEAD = 2  # batches that are decoded while one is encoded


@dataclass(frozen=True)
class Encoded:
    """What could be encoded of N images, and what could not.

    Attributes:
        encoding: of the usable images, in order, on the CPU.
        unusable: row among the N images -> a sentence that names the image and says why it cannot be used.
    """

    encoding: Encoding
    unusable: Mapping[int, str]


def prepare(item: Item, config: PreprocessConfig) -> Tensor:
    """[3, S, S] float32, normalised.

    Raises:
        SketchseekError: the image is missing, damaged or blank.
    """
    if item.strokes is not None:
        return sketch_tensor(draw_strokes(item.strokes), config)
    if item.modality == "sketch":
        return sketch_tensor(open_image(item.path, longest_side=SKETCH_LONGEST_SIDE, whole=True), config)
    return photo_tensor(open_image(item.path, longest_side=config.image_size, whole=True), config)


def encode_items(
    network: Network, items: Sequence[Item], *, batch_size: int = 64, progress: Progress | None = None
) -> Encoding:
    """The encodings of sketches or photos (one modality), in order, on the CPU.

    Args:
        network: encodes on its own device.
        items: N images.
        batch_size: images encoded at once.
        progress: called with (done, total).

    Raises:
        DatasetError: images are missing, damaged or blank; the message names the first ones.
    """
    return encode_usable(network, items, batch_size=batch_size, strict=True, progress=progress).encoding


@torch.inference_mode()
def encode_usable(
    network: Network,
    items: Sequence[Item],
    *,
    batch_size: int = 64,
    strict: bool = False,
    progress: Progress | None = None,
) -> Encoded:
    """`encode_items` that leaves out what cannot be used, unless it is strict.

    Args:
        network, items, batch_size, progress: as there.
        strict: an image that cannot be used is an error. The other images are still read, so that it names them all.

    Raises:
        DatasetError: no image can be used; or, where `strict`, one cannot.
    """
    encode = network.encode_sketch if items[0].modality == "sketch" else network.encode_photo
    parts: list[Encoding] = []
    unusable: dict[int, str] = {}
    done = 0
    for batch in _batches(items, network.preprocess, batch_size):
        images = [image for image in batch if isinstance(image, Tensor)]
        unusable |= {done + row: str(image) for row, image in enumerate(batch) if isinstance(image, SketchseekError)}
        if images and not (strict and unusable):
            parts.append(encode(torch.stack(images)).to("cpu"))
        done += len(batch)
        if progress is not None:
            progress(done, len(items))
    if unusable and (strict or not parts):
        raise unusable_error(items, unusable)
    return Encoded(
        Encoding.concatenate(parts), {row: why_unusable(items[row], reason) for row, reason in unusable.items()}
    )


def _prepared(item: Item, config: PreprocessConfig) -> Tensor | SketchseekError:
    try:
        return prepare(item, config)
    except SketchseekError as error:
        return error


def _batches(
    items: Sequence[Item], config: PreprocessConfig, batch_size: int
) -> Iterator[list[Tensor | SketchseekError]]:
    waiting: deque[list[Future[Tensor | SketchseekError]]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for start in range(0, len(items), batch_size):
                waiting.append([pool.submit(_prepared, item, config) for item in items[start : start + batch_size]])
                if len(waiting) > _AHEAD:
                    yield [image.result() for image in waiting.popleft()]
            while waiting:
                yield [image.result() for image in waiting.popleft()]
        finally:
            for batch in waiting:
                for image in batch:
                    image.cancel()
