"""The text tower that belongs to a CLIP backbone: in the file of its starting weights, or beside them on the hub."""

from __future__ import annotations

from pathlib import Path

from model.backbones.hub import clip_on_hub
from model.backbones.timm_backbones import pretrained_settings
from model.backbones.weight_files import read_weights
from model.errors import ConfigurationError
from model.text.clip_tower import ClipTower, tower_from

_QUICK = {"dfn2b", "dfn5b", "metaclip_400m", "metaclip_2pt5b"}
"""Tags of weights that were trained with the quick GELU, as open_clip lists them, besides OpenAI's own."""
_QUICK_TOO = {"vit_base_patch32_clip_224.laion400m_e32", "vit_huge_patch14_clip_224.metaclip2_worldwide"}
"""Others of these tags were trained with the plain one."""
_VOCABULARY = 49408


def is_clip(backbone: str) -> bool:
    """Whether a backbone, by timm's name of it, is the image tower of a CLIP."""
    return "_clip_" in backbone


def clip_tower(backbone: str, start: str | Path | None) -> ClipTower | None:
    """The text tower of a backbone, or None where it has none, or where its weights are the image tower's alone.

    Args:
        backbone: timm's name, with its tag.
        start: where the backbone's weights come from, as `RunPlan.start` says it.

    Raises:
        ConfigurationError: its texts are read with another vocabulary.
        CheckpointError: its weights are damaged.
    """
    if not is_clip(backbone) or start in (None, "package"):
        return None
    file = clip_on_hub(pretrained_settings(backbone)) if start == "hub" else Path(str(start))
    if file is None:
        return None
    tower = tower_from(read_weights(file), quick=was_quick(backbone))
    if tower is not None and tower.config.vocabulary != _VOCABULARY:
        raise ConfigurationError(f"the text tower of {backbone!r} reads with a vocabulary that is not CLIP's own")
    return tower


def was_quick(backbone: str) -> bool:
    """Whether the text tower was trained with `quick_gelu`.

    timm's name of the image tower does not say: it also has plain names for weights that were trained with it.
    """
    name, _, tag = backbone.partition(".")
    tag = tag or pretrained_settings(name).tag
    return "_quickgelu_" in backbone or tag.startswith("openai") or tag in _QUICK or f"{name}.{tag}" in _QUICK_TOO
