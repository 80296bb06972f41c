"""Small networks and encodings for tests: seeded, made on the spot, of every kind."""

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import CrossAttentionConfig, EncoderConfig, NetworkConfig, PreprocessConfig, RelationConfig, ZseConfig
from model.layers.matching import MatchingRelation
from model.networks.crossatnet import CrossAtNet
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network, preset
from model.networks.text_aligned import TextAlignedNetwork
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_TINY
from model.types import Encoding

# The upstream variant with every part, 16 patches of a 64-pixel image and a ViT of width 64.
UPSTREAM_TINY = ZseConfig(
    preset="upstream-tiny",
    preprocess=PreprocessConfig(image_size=64),
    encoder=EncoderConfig(backbone="test_vit", grid=4, width=64, scale_embedding=True, norm_eps=1e-5),
    cross_attention=CrossAttentionConfig(heads=4, hidden=48),
    relation=RelationConfig(width=24, hidden=(12, 6)),
)
# The same encoder before the relation network over real patches.
VIT_POOLED = replace(
    UPSTREAM_TINY,
    preset="vit-pooled",
    cross_attention=CrossAttentionConfig(heads=4, hidden=48, values="other", norm="layer"),
    relation=RelationConfig(kind="pooled", width=16, hidden=(8,), bins=5),
)
# The reading of the bundled checkpoint: patches are matched where they lie, and nothing is attended.
MATCHING_TINY = replace(
    ZSE_TINY,
    preset="matching-tiny",
    cross_attention=replace(ZSE_TINY.cross_attention, values="none"),
    relation=RelationConfig(kind="matching", width=16, hidden=(8,), radii=(3.0, 1.5, 0.0)),
)
CONFIGS = {config.preset: config for config in (UPSTREAM_TINY, VIT_POOLED, ZSE_TINY)}
CROSSATNET_TINY, TEXT_ALIGNED_TINY = preset("crossatnet-tiny"), preset("text-aligned-tiny")
# Descriptors alone, no map and no codes; and a vision transformer for each modality, as in its paper.
CROSSATNET_PLAIN = replace(CROSSATNET_TINY, preset="crossatnet-plain", attention=False, hash_bits=0)
TEXT_ALIGNED_TWIN = replace(
    TEXT_ALIGNED_TINY,
    preset="text-aligned-twin",
    encoder=EncoderConfig(backbone="test_vit", grid=4, width=64, separate_backbones=True),
)
EVERY_CONFIG: dict[str, NetworkConfig] = {
    **CONFIGS,
    **{
        config.preset: config
        for config in (MATCHING_TINY, CROSSATNET_TINY, CROSSATNET_PLAIN, TEXT_ALIGNED_TINY, TEXT_ALIGNED_TWIN)
    },
}


def build_any(config: NetworkConfig, seed: int = 0) -> EncoderNetwork:
    """A network with seeded weights large enough that scores and maps differ between pairs."""
    network = build_network(config, seed=seed)
    assert isinstance(network, EncoderNetwork)
    with torch.no_grad():
        if isinstance(network, CrossAtNet):
            if network.attention is not None:
                network.attention.query.weight.mul_(6)
                network.attention.key.weight.mul_(6)
                network.attention.value.weight.mul_(4)
                for weight in network.attention.own.parameters():
                    weight.mul_(3)
        else:
            assert isinstance(network, ZseNetwork | TextAlignedNetwork)
            relation = network.relation
            layers = (relation.linear, relation.hidden) if isinstance(relation, MatchingRelation) else (relation.mlp,)
            for layer in (inner for outer in layers for inner in outer.modules()):
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(3)
    return network


def build(config: ZseConfig, seed: int = 0) -> ZseNetwork:
    """A ZSE-SBIR network of this kind."""
    network = build_any(config, seed)
    assert isinstance(network, ZseNetwork)
    return network


def build_crossatnet(config: NetworkConfig = CROSSATNET_TINY) -> Any:
    """A CrossATNet of this kind; not typed, because tests know which of its parts are there."""
    network = build_any(config)
    assert isinstance(network, CrossAtNet)
    return network


def build_text_aligned(config: NetworkConfig = TEXT_ALIGNED_TINY) -> Any:
    """A text-aligned network of this kind, not typed as that."""
    network = build_any(config)
    assert isinstance(network, TextAlignedNetwork)
    return network


def silent(module: nn.Module) -> set[str]:
    """Names of trainable parameters that no gradient has reached."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or float(parameter.grad.abs().max()) == 0)
    }


def images(count: int, size: int = 64, seed: int = 0) -> Tensor:
    """[count, 3, size, size] in [-1, 1]: coarse blocks of colour, so that images differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return F.interpolate(coarse, size=(size, size)) * 0.8 + 0.2 * torch.randn(
        count, 3, size, size, generator=generator
    ).clamp(-1, 1)


def encodings(network: EncoderNetwork, count: int, seed: int = 0, tokens: int | None = None) -> Encoding:
    """Random encodings of the shapes that the network makes, or with another number of tokens."""
    generator = torch.Generator().manual_seed(seed)
    length = network.photo_tokens if tokens is None else tokens
    descriptor = torch.randn(count, network.descriptor_size, generator=generator)
    values = torch.randn(count, length, network.token_width, generator=generator)
    positions = torch.stack([torch.randperm(network.grid**2, generator=generator)[: length - 1] for _ in range(count)])
    return Encoding(F.normalize(descriptor, dim=-1), values, positions.sort(dim=1).values)


def set_golden_weights(network: nn.Module) -> None:
    """Weights from the names of parameters alone: the same on every machine, with any torch and timm."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
            values = random.standard_normal(parameter.shape).astype(np.float32)
            if parameter.ndim == 1:
                near_one = "norm" in name and name.rsplit(".", 1)[-1] in ("weight", "a")
                values = 1 + 0.1 * values if near_one else 0.05 * values
            elif ".mlp." in name and name.startswith("relation"):
                values *= 4 / np.sqrt(values[0].size)
            else:
                values *= 1 / np.sqrt(values[0].size)
            parameter.copy_(torch.from_numpy(values))


def golden_images(name: str, count: int, size: int) -> Tensor:
    """[count, 3, size, size] in [-1, 1], from a name alone."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    coarse = np.repeat(np.repeat(random.uniform(-1, 1, (count, 3, 4, 4)), size // 4, 2), size // 4, 3)
    fine = random.uniform(-1, 1, (count, 3, size, size))
    return torch.from_numpy((0.7 * coarse + 0.3 * fine).astype(np.float32))
