"""Fits a network's whitening, and which photos are familiar to it, on a sample of what it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.layers.matching import MatchingRelation
from model.networks.encoder_network import EncoderNetwork
from model.networks.network import Network
from model.networks.zse_sbir import ZseNetwork
from model.training.run.fit_patches import fit_patches
from model.training.sampling import generator_for
from model.types import Encoding

PER_CATEGORY = 20
OF_PATCHES = 5  # images a category: each has dozens of patches
_PURPOSE = 8  # of the draw, which no other draw of a run shares


def fit_whitening(network: Network, sketches: ImageArrays, photos: ImageArrays, seed: int, *, batch: int = 128) -> bool:
    """Fit the whitening and what follows it, where the network has one; validation categories are not touched.

    Args:
        network: in evaluation mode.
        sketches, photos: that it was trained on, labelled on one scale.
        seed: of the sample: at most `PER_CATEGORY` sketches and photos of each category.
        batch: images encoded at once.

    Returns:
        Whether the network has a whitening.
    """
    if not isinstance(network, EncoderNetwork) or network.whitening is None:
        return False
    whitening = network.whitening
    whitening.reset()
    with torch.inference_mode():
        (sketch, of_sketch), (photo, of_photo) = (
            encoded_sample(network, images, modality, seed, batch)
            for images, modality in ((sketches, "sketch"), (photos, "photo"))
        )
        whitening.fit(sketch, photo)
        whitening.familiarity.fit((whitening(sketch, "sketch"), of_sketch), (whitening(photo, "photo"), of_photo))
    if isinstance(network, ZseNetwork) and isinstance(network.relation, MatchingRelation):
        with torch.inference_mode():
            some = [
                _encodings(network, images, modality, _sample(images.labels.cpu(), seed, OF_PATCHES), batch)
                for images, modality in ((sketches, "sketch"), (photos, "photo"))
            ]
        fit_patches(network.relation, some[0], some[1])
    return True


def _encodings(network: Network, images: ImageArrays, modality: str, rows: Tensor, batch: int) -> Encoding:
    """Of some rows."""
    encode = network.encode_sketch if modality == "sketch" else network.encode_photo
    parts = [images.pixels[part.to(images.pixels.device)].to(network.device) for part in torch.split(rows, batch)]
    return Encoding.concatenate([encode(plain(part, network.preprocess)) for part in parts])


def encoded_sample(
    network: Network, images: ImageArrays, modality: str, seed: int, batch: int
) -> tuple[Tensor, Tensor]:
    """Descriptors [M, E] of at most `PER_CATEGORY` images of each category, and their labels [M]."""
    rows = _sample(images.labels.cpu(), seed)
    descriptors = _encodings(network, images, modality, rows, batch).descriptor
    return descriptors, images.labels.cpu()[rows].to(descriptors.device)


def _sample(labels: Tensor, seed: int, count: int = PER_CATEGORY) -> Tensor:
    """At most `count` rows of each label [N], as [M] int64."""
    order = torch.randperm(len(labels), generator=generator_for(seed, 0, 0, _PURPOSE))
    taken = [order[labels[order] == label][:count] for label in sorted(set(labels.tolist()))]
    return torch.cat([order[:0], *taken])
