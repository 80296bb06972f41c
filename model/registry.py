"""Which networks exist: the only place that knows every architecture and preset.

A new architecture adds one module (its configuration and its network) and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.backbone import create_backbone, pretrained_settings, token_layout
from model.config import PRESETS, EncoderConfig, ZseConfig, to_json, zse_config_from_json
from model.errors import ConfigurationError
from model.network import Network, ZseNetwork


@dataclass(frozen=True)
class Architecture:
    """How configurations of one architecture become networks.

    Attributes:
        build: configuration and backbone weights (None, "hub" or a file) -> network in float32 on the CPU.
        from_json, to_json: the configuration as plain values, as checkpoints store it.
    """

    build: Callable[[Any, str | Path | None], Network]
    from_json: Callable[[dict[str, Any]], Any]
    to_json: Callable[[Any], dict[str, Any]]


def _build_zse(config: ZseConfig, weights: str | Path | None) -> Network:
    return ZseNetwork(config, create_backbone(config.encoder, config.preprocess.image_size, weights))


ARCHITECTURES: dict[str, Architecture] = {
    ZseConfig.architecture: Architecture(_build_zse, zse_config_from_json, to_json),
}


def preset(name: str) -> ZseConfig:
    """The configuration of a preset.

    Raises:
        ConfigurationError: no preset has this name.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"no preset is named {name!r}; choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def build_network(config: Any, weights: str | Path | None = None, seed: int | None = None) -> Network:
    """A network with fresh weights, in evaluation mode.

    Args:
        config: a configuration, for example `preset("zse-lite")`.
        weights: of the backbone: None for random, "hub", or a file.
        seed: makes random weights reproducible without touching the global generator.
    """
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = ARCHITECTURES[config.architecture].build(config, weights)
    return network.eval()


def with_backbone(config: ZseConfig, backbone: str, image_size: int | None = None) -> ZseConfig:
    """The same network around another timm vision transformer with a class token.

    Token width and patch grid are asked of timm; images are normalised as the backbone was pretrained; keep rates count
    the blocks of the new backbone.

    Args:
        config: what the rest is made of.
        backbone: timm's name, with or without a pretrained tag.
        image_size: side of the input in pixels; None keeps the configuration's.

    Raises:
        ConfigurationError: timm has no such model, it is no vision transformer with a class token, its patches do not
            divide the image, or another part of the network does not suit it.
    """
    size = image_size or config.preprocess.image_size
    width, grid = token_layout(backbone, size)
    settings = pretrained_settings(backbone)
    encoder = EncoderConfig(
        kind="vit",
        backbone=backbone,
        grid=grid,
        width=width,
        keep_rates=config.encoder.keep_rates,
        descriptor_size=config.encoder.descriptor_size,
    )
    preprocess = replace(config.preprocess, image_size=size, mean=tuple(settings.mean), std=tuple(settings.std))
    return replace(config, preset="custom", preprocess=preprocess, encoder=encoder)
