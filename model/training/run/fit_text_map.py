"""Fits the map of words on a sample of what a network was trained on, once its descriptors are final."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from model.data.arrays import ImageArrays
from model.data.items import Modality
from model.layers.text_map import PENALTY, TextMap
from model.networks.encoder_network import EncoderNetwork
from model.networks.network import Network
from model.text.clip_tower import ClipTower
from model.training.run.fit_whitening import encoded_sample


def fit_text_map(
    network: Network,
    images: Iterable[tuple[ImageArrays | None, Modality]],
    names: Tensor,
    seed: int,
    *,
    tower: ClipTower | None = None,
    penalty: float = PENALTY,
    batch: int = 128,
) -> bool:
    """Give a network a map of words, or fit its map anew. Its configuration tells of the map afterwards.

    Args:
        network: in evaluation mode, with its final whitening.
        images: that it was trained on, photos and sketches, labelled on one scale; None is left out. Sketches of
            categories without photos bring more names.
        names: embeddings [C, T] of the categories' names, as `phrase` puts them.
        seed: of the sample.
        tower: the text tower that the names were embedded with, kept with the map; None: the sentence encoder did.
        penalty: see `TextMap.fit`.
        batch: images encoded at once.

    Returns:
        Whether the network has descriptors of its own to lead to.
    """
    if not isinstance(network, EncoderNetwork):
        return False
    with torch.inference_mode():
        parts = [encoded_sample(network, part, kind, seed, batch) for part, kind in images if part is not None]
    descriptors, labels = torch.cat([part for part, _ in parts]), torch.cat([of for _, of in parts])
    give_text_map(network, descriptors, names, labels, penalty, tower=tower)
    return True


def give_text_map(
    network: EncoderNetwork,
    images: Tensor,
    names: Tensor,
    labels: Tensor,
    penalty: float,
    *,
    tower: ClipTower | None = None,
) -> None:
    """The same from descriptors [M, E] and their labels [M]."""
    words = TextMap(names.shape[1], network.descriptor_size, tower).to(network.device)
    words.fit(images.to(network.device), names.to(network.device), labels.to(network.device), penalty)
    network.text_map = words
    made_of = None if tower is None else tower.config
    encoder = replace(network.config.encoder, text_width=names.shape[1], text_tower=made_of)
    network.config = replace(network.config, encoder=encoder)
