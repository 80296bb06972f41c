"""Fits a network's whitening, and which photos are familiar to it, on a sample of what it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.networks.network import EncoderNetwork, Network
from model.training.sampling import generator_for

PER_CATEGORY = 20
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
            _encoded(network, images, modality, seed, batch)
            for images, modality in ((sketches, "sketch"), (photos, "photo"))
        )
        whitening.fit(sketch, photo)
        whitening.familiarity.fit((whitening(sketch, "sketch"), of_sketch), (whitening(photo, "photo"), of_photo))
    return True


def _encoded(network: Network, images: ImageArrays, modality: str, seed: int, batch: int) -> tuple[Tensor, Tensor]:
    """Descriptors [M, E] of a sample, and their labels [M]."""
    encode = network.encode_sketch if modality == "sketch" else network.encode_photo
    rows = _sample(images.labels.cpu(), seed)
    parts = [images.pixels[part.to(images.pixels.device)].to(network.device) for part in torch.split(rows, batch)]
    descriptors = torch.cat([encode(plain(part, network.preprocess)).descriptor for part in parts])
    return descriptors, images.labels.cpu()[rows].to(descriptors.device)


def _sample(labels: Tensor, seed: int) -> Tensor:
    """At most `PER_CATEGORY` rows of each label [N], as [M] int64."""
    order = torch.randperm(len(labels), generator=generator_for(seed, 0, 0, _PURPOSE))
    taken = [order[labels[order] == label][:PER_CATEGORY] for label in sorted(set(labels.tolist()))]
    return torch.cat([order[:0], *taken])
