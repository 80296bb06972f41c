"""The networks: from images to encodings, relations and explanations.

Names are imported when first used, so that importing `model.errors` alone, as the command line does, costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoints.files import load_checkpoint, save_checkpoint
    from model.checkpoints.upstream import convert_upstream
    from model.networks.network import CheckpointIdentity, Network
    from model.types import Encoding, Relation, RelationAttention

_HOMES = {
    "CheckpointIdentity": "model.networks.network",
    "Encoding": "model.types",
    "Network": "model.networks.network",
    "Relation": "model.types",
    "RelationAttention": "model.types",
    "convert_upstream": "model.checkpoints.upstream",
    "load_checkpoint": "model.checkpoints.files",
    "save_checkpoint": "model.checkpoints.files",
}

__all__ = [
    "CheckpointIdentity",
    "Encoding",
    "Network",
    "Relation",
    "RelationAttention",
    "convert_upstream",
    "load_checkpoint",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    """The public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
