"""Stored feature maps of augmented images, for training what stands behind a backbone that stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model.config import PreprocessConfig
from model.data.augment import augment_photos, augment_sketches
from model.errors import ConfigurationError
from model.networks.encoder import Features, HybridEncoder, Modality
from model.networks.encoder_network import EncoderNetwork
from model.networks.network import Network
from model.training.config import TrainConfig
from model.training.sampling import generator_for

BATCH = 64


class Views:
    """Feature maps of V variations of N images.

    Args:
        network: whose backbone computes them.
        pixels: [N, C, H, W] uint8.
        modality: of the images.
        count: V.
        config: gives the strengths of augmentation and the seed.
        preprocess: gives the side of the varied images.
        progress: called with (done, total).

    Raises:
        ConfigurationError: the network has no feature maps.
    """

    def __init__(
        self,
        network: Network,
        pixels: Tensor,
        modality: Modality,
        count: int,
        *,
        config: TrainConfig,
        preprocess: PreprocessConfig,
        progress: Callable[[int, int], None],
    ) -> None:
        if not isinstance(network, EncoderNetwork) or not isinstance(network.encoder, HybridEncoder):
            raise ConfigurationError(
                "stored views need a network with a hybrid encoder; set photo_views and sketch_views to 0"
            )
        self._count, self._images = count, len(pixels)
        self._features: Features | None = None
        network.eval()
        for view in range(count):
            for start in range(0, len(pixels), BATCH):
                # purposes above 2 are free: (3, 4) for views of photos and sketches
                noise = generator_for(
                    config.seed, view * len(pixels) + start, 0, 3 + (modality == "sketch"), network.device
                )
                part = pixels[start : start + BATCH].to(network.device)
                images = (
                    augment_sketches(part, preprocess, config.sketches, noise)
                    if modality == "sketch"
                    else augment_photos(part, preprocess, config.photos, noise)
                )
                with torch.inference_mode(), torch.autocast(network.device.type, dtype=torch.bfloat16):
                    features = network.encoder.features(images, modality)
                self._store(view * len(pixels) + start, features)
                progress(view * len(pixels) + start + len(part), count * len(pixels))

    @classmethod
    def of(cls, features: Features, count: int) -> Views:
        """Views computed before: feature maps [V * N, ...] of V = `count` variations, as `features` gave them."""
        views = cls.__new__(cls)
        views._count, views._images, views._features = count, len(features.fine) // count, features
        return views

    @property
    def features(self) -> Features:
        """All feature maps, variation by variation, in bfloat16.

        Raises:
            ValueError: there are none.
        """
        if self._features is None:
            raise ValueError("there are no stored views")
        return self._features

    def _store(self, first: int, features: Features) -> None:
        """Keep features as rows from `first` on; room for all is taken once, because they are most of the memory."""
        if self._features is None:
            rows = self._count * self._images
            self._features = Features(
                *(
                    part.new_empty(rows, *part.shape[1:], dtype=torch.bfloat16)
                    for part in (features.fine, features.coarse)
                )
            )
        end = first + len(features.fine)
        self._features.fine[first:end] = features.fine
        self._features.coarse[first:end] = features.coarse

    def draw(self, rows: Tensor, generator: torch.Generator) -> Features:
        """One variation of each of the images in `rows` [B], in float32; rows and generator on the CPU."""
        view = torch.randint(self._count, rows.shape, generator=generator)
        stored = self.features
        chosen = stored[(view * self._images + rows).to(stored.fine.device)]
        return Features(chosen.fine.float(), chosen.coarse.float())
