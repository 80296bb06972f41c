"""Which batch sizes a GPU sees. Some are recorded: encoding 1 to 32 images, relating 32 sketches to their photos.

A batch between two sizes takes the larger one. Few sizes do, because a GPU takes hardly longer for eight images than
for one, while cuDNN takes seconds to choose kernels for each size (docs/performance.md). Sketches that are related have
one size, because they cost little beside the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.networks.encoder import Modality
from model.networks.fixed_shapes import Recorder, Tensors
from model.types import Encoding

if TYPE_CHECKING:
    from model.networks.encoder_network import EncoderNetwork

BATCHES = (32, 8, 1)
MOST_SKETCHES = 32
_PADDED_TO = 256
_PAIRS = tuple(2**power for power in range(11, -1, -1))
_PAIR_SIZES = 6  # the largest ones that fit the memory budget
_MODALITIES: tuple[Modality, ...] = ("sketch", "photo")


def record_sizes(network: EncoderNetwork, recorder: Recorder) -> None:
    """Record what `network.fixed_shapes` will run, once for a network.

    Args:
        network: on the recorder's device.
        recorder: of a CUDA device; tests have one that only remembers.
    """
    shapes = network.fixed_shapes
    if shapes.tried:
        return
    for modality in _MODALITIES:
        batches = ((_blank(network, size),) for size in BATCHES)
        shapes.record(recorder, modality, partial(_encode, network, modality), ((batch,) for batch in batches))
    shapes.record(recorder, "relate", partial(_relate, network), _blank_pairs(network))


def record_photos(network: EncoderNetwork, recorder: Recorder, count: int) -> None:
    """Record what `network.batch_shapes` will run: encoding so many photos, as a build does again and again."""
    if not network.batch_shapes.tried:
        step = partial(_encode, network, "photo")
        network.batch_shapes.record(recorder, "photo", step, [((_blank(network, count),),)])


def padded_size(count: int) -> int:
    """How many images to encode where `count`, at least one, are wanted and nothing is recorded: a power of two up to
    256, then a multiple of that."""
    return -(-count // _PADDED_TO) * _PADDED_TO if count > _PADDED_TO else 1 << (count - 1).bit_length()


def tensors_of(encoding: Encoding) -> Tensors:
    """What a recorded step takes of an encoding; with a mask, more than any was recorded with."""
    tensors = (encoding.descriptor, encoding.tokens, encoding.positions)
    return tensors if encoding.mask is None else (*tensors, encoding.mask)


def _encode(network: EncoderNetwork, modality: Modality, images: Tensors) -> Tensors:
    return tensors_of(network.encode_plainly(images[0], modality))


def _relate(network: EncoderNetwork, sketches: Tensors, pairs: Tensors) -> Tensors:
    own, *photos = pairs
    return (network.relate_chunk(Encoding(*sketches), Encoding(*photos), own),)


def _blank(network: EncoderNetwork, count: int) -> Tensor:
    size = network.preprocess.image_size
    return torch.zeros(count, 3, size, size, device=network.device, dtype=network.dtype)


def _blank_pairs(network: EncoderNetwork) -> Iterator[tuple[Tensors, Tensors]]:
    """32 sketches and numbers of photos, each with the number of its sketch."""
    sketches = network.encode_plainly(_blank(network, MOST_SKETCHES), "sketch")
    photo = network.encode_plainly(_blank(network, 1), "photo")
    most = network.pairs_per_chunk(sketches.tokens.shape[1], photo.tokens.shape[1])
    for count in [size for size in _PAIRS if size <= most][:_PAIR_SIZES]:
        own = torch.zeros(count, dtype=torch.int64, device=network.device)
        yield tensors_of(sketches), (own, *(one.expand(count, *one.shape[1:]) for one in tensors_of(photo)))
