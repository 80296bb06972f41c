"""The presets of ZSE-SBIR: what each kind of network is made of, by name. Those of the other networks lie with them."""

from __future__ import annotations

from dataclasses import replace

from model.config import CrossAttentionConfig, EncoderConfig, PreprocessConfig, RelationConfig, ZseConfig

ZSE_VIT_B16 = ZseConfig(
    preset="zse-vit-b16",
    encoder=EncoderConfig(backbone="vit_base_patch16_224", width=768, scale_embedding=True, norm_eps=1e-5),
)

# What `zse-lite` was before: a smaller backbone, and a relation that learns all of itself from pairs.
ZSE_LITE0 = ZseConfig(
    preset="zse-lite0",
    preprocess=PreprocessConfig(image_size=192),
    encoder=EncoderConfig(
        kind="hybrid",
        backbone="tf_efficientnet_lite0",
        grid=12,
        width=256,
        depth=4,
        heads=8,
        keep_rates=((2, 0.5), (3, 0.68)),
        separate_backbones=True,
        descriptor_size=256,
        whitened=True,
    ),
    cross_attention=CrossAttentionConfig(heads=8, hidden=256, values="other", norm="layer"),
    relation=RelationConfig(kind="pooled", width=128, hidden=(64,), bins=11),
)

ZSE_LITE = replace(
    ZSE_LITE0,
    preset="zse-lite",
    encoder=replace(ZSE_LITE0.encoder, backbone="tf_efficientnet_lite2"),
    cross_attention=replace(ZSE_LITE0.cross_attention, values="none"),
    relation=RelationConfig(kind="matching", width=256, hidden=(16,), radii=(3.0, 1.5, 6.0, 0.0)),
)

# Every part of its smallest kind: for tests of what stands around a network.
ZSE_TINY = ZseConfig(
    preset="zse-tiny",
    preprocess=PreprocessConfig(image_size=64),
    encoder=EncoderConfig(
        kind="hybrid",
        backbone="test_efficientnet",
        grid=4,
        width=32,
        depth=2,
        heads=4,
        keep_rates=((1, 0.5),),
        descriptor_size=16,
    ),
    cross_attention=CrossAttentionConfig(heads=4, hidden=32, values="other", norm="layer"),
    relation=RelationConfig(kind="pooled", width=16, hidden=(8,), bins=5),
)

PRESETS: dict[str, ZseConfig] = {c.preset: c for c in (ZSE_VIT_B16, ZSE_LITE, ZSE_LITE0, ZSE_TINY)}
