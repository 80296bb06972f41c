"""Encodes the images of an evaluation, each once, as building a gallery and serving do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.items import Item
from model.errors import DatasetError, SketchseekError
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, draw_strokes, photo_tensor, sketch_tensor
from model.networks.network import Network
from model.types import Encoding

Progress = Callable[[int, int], None]
_AHEAD = 2  # batches that are decoded while one is encoded


def prepare(item: Item, config: PreprocessConfig) -> Tensor:
    """[3, S, S] float32, normalised.

    Raises:
        DatasetError: the image is missing, damaged or blank; the message names it.
    """
    try:
        if item.strokes is not None:
            return sketch_tensor(draw_strokes(item.strokes), config)
        if item.modality == "sketch":
            return sketch_tensor(open_image(item.path, longest_side=SKETCH_LONGEST_SIDE), config)
        return photo_tensor(open_image(item.path, longest_side=config.image_size), config)
    except SketchseekError as error:
        raise DatasetError(f"{item.path} cannot be used: {error}") from error


@torch.inference_mode()
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
        DatasetError: an image is missing, damaged or blank; the message names it.
    """
    encode = network.encode_sketch if items[0].modality == "sketch" else network.encode_photo
    parts: list[Encoding] = []
    done = 0
    for images in _batches(items, network.preprocess, batch_size):
        parts.append(encode(images).to("cpu"))
        done += len(images)
        if progress is not None:
            progress(done, len(items))
    return Encoding.concatenate(parts)


def _batches(items: Sequence[Item], config: PreprocessConfig, batch_size: int) -> Iterator[Tensor]:
    waiting: deque[list[Future[Tensor]]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for start in range(0, len(items), batch_size):
                waiting.append([pool.submit(prepare, item, config) for item in items[start : start + batch_size]])
                if len(waiting) > _AHEAD:
                    yield torch.stack([image.result() for image in waiting.popleft()])
            while waiting:
                yield torch.stack([image.result() for image in waiting.popleft()])
        finally:
            for batch in waiting:
                for image in batch:
                    image.cancel()
