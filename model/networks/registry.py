"""Which networks exist: the only place that knows every architecture and preset.

A new architecture adds one module (its configuration, its presets and its network) and one entry here.
CONTRIBUTING.md lists the other files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from model.backbones.timm_backbones import create_backbone, pretrained_settings, token_layout
from model.config import EncoderConfig, NetworkConfig, ZseConfig
from model.errors import ConfigurationError
from model.networks import crossatnet, text_aligned
from model.networks.crossatnet import CrossAtNet, CrossAtNetConfig
from model.networks.network import Network
from model.networks.stored_config import config_from_json, to_json
from model.networks.text_aligned import TextAlignedConfig, TextAlignedNetwork
from model.networks.zse_sbir import ZseNetwork
from model.presets import PRESETS as ZSE_PRESETS

K = TypeVar("K", bound=NetworkConfig)


@dataclass(frozen=True)
class Architecture:
    """How configurations of one architecture become networks.

    Attributes:
        config: the class of its configurations.
        build: configuration and backbone -> network in float32 on the CPU.
        presets: its configurations that have a name.
    """

    config: type[NetworkConfig]
    build: Callable[[Any, nn.Module], Network]
    presets: tuple[NetworkConfig, ...] = ()

    def from_json(self, values: dict[str, Any]) -> NetworkConfig:
        """The configuration stored as plain values, as checkpoints hold it."""
        return config_from_json(self.config, values)

    def to_json(self, config: NetworkConfig) -> dict[str, Any]:
        """The configuration as plain values."""
        return to_json(config)


ARCHITECTURES: dict[str, Architecture] = {
    each.config.architecture: each
    for each in (
        Architecture(ZseConfig, ZseNetwork, tuple(ZSE_PRESETS.values())),
        Architecture(CrossAtNetConfig, CrossAtNet, crossatnet.PRESETS),
        Architecture(TextAlignedConfig, TextAlignedNetwork, text_aligned.PRESETS),
    )
}
PRESETS: dict[str, NetworkConfig] = {
    config.preset: config for each in ARCHITECTURES.values() for config in each.presets
}


def preset(name: str) -> Any:
    """The configuration of a preset: a `NetworkConfig` of its architecture's own class.

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
        backbone = create_backbone(config.encoder, config.preprocess.image_size, weights)
        network = ARCHITECTURES[config.architecture].build(config, backbone)
    return network.eval()


def with_backbone(config: K, backbone: str, image_size: int | None = None) -> K:
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
        separate_backbones=config.encoder.kind == "vit" and config.encoder.separate_backbones,
        descriptor_size=config.encoder.descriptor_size,
    )
    preprocess = replace(config.preprocess, image_size=size, mean=tuple(settings.mean), std=tuple(settings.std))
    return replace(config, preset="custom", preprocess=preprocess, encoder=encoder)
