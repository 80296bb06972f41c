"""Fits a network's whitening after its last step, on a sample of the images that it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.network import EncoderNetwork, Network
from model.training.sampling import generator_for

PER_CATEGORY = 20
_PURPOSE = 8  # of the draw, which no other draw of a run shares


def fit_whitening(network: Network, sketches: ImageArrays, photos: ImageArrays, seed: int, *, batch: int = 128) -> bool:
    """Fit the whitening, where the network has one, on seen categories; validation categories are not touched.

    Args:
        network: in evaluation mode.
        sketches, photos: that it was trained on.
        seed: of the sample: at most `PER_CATEGORY` sketches and photos of each category.
        batch: images encoded at once.

    Returns:
        Whether the network has a whitening.
    """
    if not isinstance(network, EncoderNetwork) or network.whitening is None:
        return False
    network.whitening.reset()
    device = network.device
    with torch.inference_mode():
        sketch, photo = (
            torch.cat(
                [
                    encode(
                        plain(images.pixels[rows.to(images.pixels.device)].to(device), network.preprocess)
                    ).descriptor
                    for rows in torch.split(_sample(images.labels.cpu(), seed), batch)
                ]
            )
            for images, encode in ((sketches, network.encode_sketch), (photos, network.encode_photo))
        )
    network.whitening.fit(sketch, photo)
    return True


def _sample(labels: Tensor, seed: int) -> Tensor:
    """At most `PER_CATEGORY` rows of each label [N], as [M] int64."""
    order = torch.randperm(len(labels), generator=generator_for(seed, 0, 0, _PURPOSE))
    taken = [order[labels[order] == label][:PER_CATEGORY] for label in sorted(set(labels.tolist()))]
    return torch.cat([order[:0], *taken])
