"""The text tower that belongs to a CLIP backbone: in the file of its starting weights, or beside them on the hub."""

from __future__ import annotations

from pathlib import Path

from model.backbones.hub import clip_on_hub
from model.backbones.timm_backbones import pretrained_settings
from model.backbones.weight_files import read_weights
from model.errors import ConfigurationError
from model.text.clip_tower import ClipTower, tower_from

_QUICK = ("openai", "metaclip", "dfn")
"""How the tags of weights begin that were trained with the quick GELU."""
_VOCABULARY = 49408


def clip_tower(backbone: str, start: str | Path | None) -> ClipTower | None:
    """The text tower of a backbone, or None where it has none, or where its weights are the image tower's alone.

    Args:
        backbone: timm's name, with its tag.
        start: where the backbone's weights come from, as `RunPlan.start` says it.

    Raises:
        ConfigurationError: its texts are read with another vocabulary.
        CheckpointError: its weights are damaged.
    """
    if "_clip_" not in backbone or start in (None, "package"):
        return None
    file = clip_on_hub(pretrained_settings(backbone)) if start == "hub" else Path(str(start))
    if file is None:
        return None
    tag = backbone.partition(".")[2]
    tower = tower_from(read_weights(file), quick=tag.startswith(_QUICK) or "quickgelu" in backbone)
    if tower is not None and tower.config.vocabulary != _VOCABULARY:
        raise ConfigurationError(f"the text tower of {backbone!r} reads with a vocabulary that is not CLIP's own")
    return tower
