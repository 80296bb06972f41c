"""A whole CLIP with random weights, small, in a file as open_clip writes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

BACKBONE = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
"""timm's smallest vision transformer that is the image tower of a CLIP."""
EMBEDDING = 32


@dataclass(frozen=True)
class SmallClip:
    file: Path
    network: Any
    tokenizer: Any


def small_clip(folder: Path) -> SmallClip:
    """Its image tower has the sizes of `BACKBONE`."""
    import model.backbones.torchvision_guard  # noqa: F401

    open_clip = pytest.importorskip("open_clip", reason="the extra 'clip' is not installed")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = open_clip.CLIP(
            EMBEDDING,
            open_clip.CLIPVisionCfg(layers=10, width=256, head_width=64, patch_size=16, image_size=224),
            open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=2),
        ).eval()
    file = folder / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    return SmallClip(file, network, open_clip.SimpleTokenizer())
