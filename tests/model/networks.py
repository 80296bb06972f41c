"""Small networks and encodings for tests: seeded, made on the spot, of every kind."""

import zlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import ZSE_TINY, CrossAttentionConfig, EncoderConfig, PreprocessConfig, RelationConfig, ZseConfig
from model.network import ZseNetwork
from model.registry import build_network
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
CONFIGS = {config.preset: config for config in (UPSTREAM_TINY, VIT_POOLED, ZSE_TINY)}


def build(config: ZseConfig, seed: int = 0) -> ZseNetwork:
    """A network with seeded weights large enough that scores differ between pairs."""
    network = build_network(config, seed=seed)
    assert isinstance(network, ZseNetwork)
    with torch.no_grad():
        for layer in network.relation.mlp:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3)
    return network


def images(count: int, size: int = 64, seed: int = 0) -> Tensor:
    """[count, 3, size, size] in [-1, 1]: coarse blocks of colour, so that images differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return F.interpolate(coarse, size=(size, size)) * 0.8 + 0.2 * torch.randn(
        count, 3, size, size, generator=generator
    ).clamp(-1, 1)


def encodings(network: ZseNetwork, count: int, seed: int = 0, tokens: int | None = None) -> Encoding:
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
