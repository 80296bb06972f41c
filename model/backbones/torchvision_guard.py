"""Lets timm import a torchvision that was built for CUDA beside a CPU build of torch.

PyPI's torchvision carries operators compiled for CUDA. Beside a CPU torch its import fails because those operators
were never registered ("operator torchvision::nms does not exist"), and timm imports torchvision unconditionally.
Nothing here calls them, so their schemas alone are enough. Where the two packages match, importing this module changes
nothing.
"""

import re
import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_ATTEMPTS = 8  # torchvision 0.28 asks for two operators; a version that asks for more than this needs another look


def import_torchvision() -> None:
    """Import torchvision, declaring the operators it misses; other errors pass through unchanged."""
    for _ in range(_ATTEMPTS):
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            match = _MISSING.search(str(error))
            if match is None:
                raise
            torch.library.define(f"torchvision::{match[1]}", _SCHEMA)
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]
        else:
            return
    raise RuntimeError("torchvision asks for more operators than this version of Sketchseek knows how to declare")


import_torchvision()
