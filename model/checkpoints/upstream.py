"""Published ZSE-SBIR checkpoints, as their authors saved them, become ours.

A published file is a pickled dict whose entry "model" is a state dict. It is read with `weights_only=True`, which
rebuilds tensors and plain containers and executes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.backbones.weight_files import is_state_dict, read_pickle
from model.checkpoints.files import load_tensors, save_checkpoint
from model.errors import CheckpointError, CheckpointNotFoundError
from model.networks.registry import build_network, preset

UNUSED = re.compile(r"ca\.encoder\.layers\.")  # built by upstream's constructor, never called

_LAYER = re.compile(r"sa\.model\.transformer\.layers\.(\d+)\.0\.(.+)")
_LAYER_PARTS = {
    "layer_norm_input": "norm1",
    "attention.to_qkv": "attn.qkv",
    "attention.to_out.0": "attn.proj",
    "layer_norm_out": "norm2",
    "mlp.net.0": "mlp.fc1",
    "mlp.net.3": "mlp.fc2",
}
_SIDE = re.compile(r"ca\.encoder\.layer([12])\.0\.(.+)")
_SIDE_PARTS = {
    "self_attn.linears.0": "query",
    "self_attn.linears.1": "key",
    "self_attn.linears.2": "value",
    "self_attn.linears.3": "output",
    "feed_forward.w_1": "expand",
    "feed_forward.w_2": "contract",
    "sublayer.0.norm": "norm_attention",
    "sublayer.1.norm": "norm_feed_forward",
}
_PLAIN = {
    "sa.model.pos_embedding": "encoder.backbone.pos_embed",
    "sa.model.cls": "encoder.backbone.cls_token",
    "sa.model.embedding": "encoder.backbone.patch_embed.patch",
    "sa.model.scale.seq.0": "encoder.backbone.patch_embed.scale.layers.0",
    "sa.model.scale.seq.2": "encoder.backbone.patch_embed.scale.layers.2",
    "sa.model.scale.seq.4": "encoder.backbone.patch_embed.scale.layers.4",
    "sa.model.scale.seq.6": "encoder.backbone.patch_embed.scale.layers.6",
    "sa.model.transformer.encoder_norm": "encoder.backbone.norm",
    "conv2d": "relation.reduce",
    "rn.rn.0": "relation.mlp.0",
    "rn.rn.3": "relation.mlp.2",
    "rn.rn.6": "relation.mlp.4",
}


@dataclass(frozen=True)
class Conversion:
    """What `convert_upstream` did.

    Attributes:
        path: of the checkpoint written.
        sha256: of its content.
        unused: entries of the published file that its own code never uses; they were left out.
    """

    path: Path
    sha256: str
    unused: tuple[str, ...]


def convert_upstream(source: str | Path, target: str | Path) -> Conversion:
    """Convert a published ZSE-SBIR checkpoint to one of preset `zse-vit-b16`.

    Args:
        source: the published file (.pth).
        target: the safetensors file to write.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: it is unreadable, holds more than tensors, or an entry is missing, extra or misshapen.
    """
    state = read_published(source)
    unused = tuple(sorted(key for key in state if UNUSED.match(key)))
    tensors: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        if key in unused:
            continue
        name = translate_key(key)
        if name is None:
            unknown.append(key)
        else:
            tensors[name] = value
    if unknown:
        raise CheckpointError(
            f"{source} holds entries that no published ZSE-SBIR checkpoint has: {', '.join(sorted(unknown)[:5])}"
        )
    with torch.device("meta"):  # only names and shapes are needed until the tensors are known to fit
        network = build_network(preset("zse-vit-b16"))
    load_tensors(network, tensors, str(source), assign=True)
    sha256 = save_checkpoint(network, target, extra={"source": Path(source).name})
    return Conversion(Path(target), sha256, unused)


def read_published(source: str | Path) -> dict[str, Tensor]:
    """The state dict of a published checkpoint; nothing in the file is executed."""
    path = Path(source)
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {path}")
    content = read_pickle(path)
    state = content.get("model") if isinstance(content, dict) else None
    if not is_state_dict(state):
        raise CheckpointError(f"{path} has no entry 'model' with a state dict, as published ZSE-SBIR checkpoints do")
    return state


def translate_key(key: str) -> str | None:
    """Our name for an upstream entry, or None where there is none."""
    if key in _PLAIN:
        return _PLAIN[key]
    stem, _, leaf = key.rpartition(".")
    if stem in _PLAIN:
        return f"{_PLAIN[stem]}.{leaf}"
    if (match := _LAYER.fullmatch(stem)) and match[2] in _LAYER_PARTS:
        return f"encoder.backbone.blocks.{match[1]}.{_LAYER_PARTS[match[2]]}.{leaf}"
    if (match := _SIDE.fullmatch(stem)) and match[2] in _SIDE_PARTS:
        return f"cross_attention.{'sketch' if match[1] == '1' else 'photo'}.{_SIDE_PARTS[match[2]]}.{leaf}"
    return None
