"""Convolutions for inference on a CPU by oneDNN: activation applied on the way out, weights laid out for each size.

torch calls oneDNN for each convolution, writes the result, reads it again for the activation, and brings the weights
into oneDNN's order in every call. The operators that its own compiler uses do neither. They have no gradient; where
they are missing, on other devices and in training, this is the convolution and then its activation.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import model.backbones.torchvision_guard  # noqa: F401  (before timm, which imports torchvision)

# isort: split
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float | None]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
_MOST_SIZES = 256  # for which a layout is remembered; making it again costs what one call without it does


class FusedConvolution(nn.Module):
    """A convolution and the activation after it.

    Args:
        convolution: plain, or timm's with TensorFlow's padding, which depends on the image's size.
        activation: what follows it. One that oneDNN cannot apply on the way out runs after it.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation
        known = type(convolution) in (nn.Conv2d, Conv2dSame) and convolution.padding_mode == "zeros"
        self._operation = _ACTIVATIONS.get(type(activation)) if known else None
        self._forget()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        conv = self.convolution
        if self._operation is None or not _usable(x, conv.weight):
            out: Tensor = self.activation(conv(x))
            return out
        if isinstance(conv, Conv2dSame):
            x = pad_same(x, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
        name, values = self._operation
        layout: Any = (conv.padding, conv.stride, conv.dilation, conv.groups)
        packed = self._packed_for(x, layout)
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed, conv.bias, *layout, name, values, "")
        return fused

    def _packed_for(self, x: Tensor, layout: Any) -> Tensor:
        """The weight as oneDNN wants it for images like these and so many threads.

        Any layout works, but oneDNN is slow to change one: 20 to 30 ms for a large weight on a processor with AMX, at
        every call. Many sizes want the same layout, and share it.
        """
        known, layouts, wanted = self._packed, self._layouts, (*x.shape, torch.get_num_threads())
        packed = known.get(wanted)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.convolution.weight, *layout, list(x.shape))
            packed = layouts.setdefault(_layout_of(packed), packed)
            if len(known) >= _MOST_SIZES:
                known.clear()
            known[wanted] = packed
        return packed

    def _forget(self) -> None:
        """Lay the weights out anew: they changed. Another thread may still use the old ones."""
        self._packed: dict[tuple[int, ...], Tensor] = {}  # by the size of the images and the number of threads
        self._layouts: dict[bytes, Tensor] = {}

    def _apply(self, fn: Any, recurse: bool = True) -> FusedConvolution:
        """Moving or casting changes the weights."""
        self._forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        """Other weights."""
        self._forget()
        super()._load_from_state_dict(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}, "_layouts": {}}


def _usable(x: Tensor, weight: Tensor) -> bool:
    on_cpu = x.device.type == "cpu" and weight.device.type == "cpu"
    return on_cpu and not torch.is_grad_enabled() and x.dtype == weight.dtype and _fused(x.dtype)


def _layout_of(packed: Tensor) -> bytes:
    """oneDNN's own description of how the values lie in memory."""
    described: Tensor = torch.ops.mkldnn._get_mkldnn_serialized_md(packed)
    return described.numpy().tobytes()


@cache
def _fused(dtype: torch.dtype) -> bool:
    """Whether oneDNN is here, computes this type and agrees with torch on a small example."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or dtype not in (torch.float32, torch.bfloat16):
        return False
    x, weight = torch.arange(9, dtype=dtype).view(1, 1, 3, 3), torch.tensor([1.0, -1.0], dtype=dtype).view(2, 1, 1, 1)
    layout: Any = ((0, 0), (2, 2), (1, 1), 1)
    try:
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *layout, list(x.shape))
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed, None, *layout, "hardtanh", [0.0, 6.0], "")
        _layout_of(packed)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.equal(fused, torch.tensor([0.0, 2, 6, 6, 0, 0, 0, 0], dtype=dtype).view(1, 2, 2, 2))
