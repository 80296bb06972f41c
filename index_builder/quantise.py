"""How tokens are stored: int8 with one scale per token, and back. The only code that knows.

A token t of width D is stored as round(t / s) with s = max |t| / 127, one float32 s per token. Rounding leaves
an error of at most s / 2 in every value. A masked (padding) token is stored with scale 0, which no real token has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.types import Encoding

TOKEN_ENCODING = "int8-per-token"  # noqa: S105 - a name, not a secret
_LEVELS = 127
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TokenShape:
    """What every photo of one gallery has.

    Attributes:
        tokens: N, the retrieval token included.
        width: D.
        descriptor: E.
    """

    tokens: int
    width: int
    descriptor: int

    @property
    def bytes_per_photo(self) -> int:
        """Bytes of one photo's descriptor, tokens, scales and positions as stored, before compression."""
        return self.descriptor * 4 + self.tokens * (self.width + 4) + (self.tokens - 1) * 2

    def to_json(self) -> dict[str, int]:
        """Plain values for the dataset's metadata."""
        return {"tokens": self.tokens, "width": self.width, "descriptor": self.descriptor}

    @staticmethod
    def from_json(values: dict[str, Any]) -> TokenShape:
        """What `to_json` wrote."""
        return TokenShape(int(values["tokens"]), int(values["width"]), int(values["descriptor"]))


@dataclass(frozen=True)
class StoredTokens:
    """Encodings of B photos as they lie in the gallery.

    Attributes:
        descriptor: [B, E] float32.
        tokens: [B, N, D] int8.
        scales: [B, N] float32; 0 marks a masked token.
        positions: [B, N - 1] uint16, in the original patch grid.
    """

    descriptor: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    positions: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.scales)

    @staticmethod
    def concatenate(parts: Sequence[StoredTokens]) -> StoredTokens:
        """One batch out of several."""
        return StoredTokens(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(StoredTokens)))


def quantise(encoding: Encoding, shape: TokenShape) -> StoredTokens:
    """Encodings of B photos -> what is stored. Fewer than N tokens are filled up with masked ones.

    Raises:
        ValueError: more tokens than the gallery's shape holds, values that are not finite, or positions beyond uint16.
    """
    encoding = encoding.padded(shape.tokens)
    tokens = encoding.tokens.detach().float()
    if not (bool(torch.isfinite(tokens).all()) and bool(torch.isfinite(encoding.descriptor).all())):
        raise ValueError("the network gave values that are not finite")
    scales = (tokens.abs().amax(dim=-1) / _LEVELS).clamp_min(_SMALLEST_SCALE)
    stored = torch.round(tokens / scales[..., None]).clamp_(-_LEVELS, _LEVELS).to(torch.int8)
    positions = encoding.positions
    if encoding.mask is not None:
        scales = scales * encoding.mask
        stored = stored * encoding.mask[..., None]
        positions = positions * encoding.mask[:, 1:]
    if positions.numel() and (int(positions.max()) > np.iinfo(np.uint16).max or int(positions.min()) < 0):
        raise ValueError("patch positions do not fit into 16 bits")
    return StoredTokens(
        descriptor=encoding.descriptor.detach().float().cpu().numpy(),
        tokens=stored.cpu().numpy(),
        scales=scales.cpu().numpy(),
        positions=positions.cpu().numpy().astype(np.uint16),
    )


def dequantise(
    descriptor: Tensor, tokens: Tensor, scales: Tensor, positions: Tensor, dtype: torch.dtype = torch.float32
) -> Encoding:
    """What is stored, as tensors on any device -> Encoding there, tokens as `dtype`.

    Shapes as in `StoredTokens`; the mask is None where no token is masked.
    """
    mask = scales > 0
    return Encoding(
        descriptor=descriptor,
        tokens=(tokens.float() * scales[..., None]).to(dtype),
        positions=positions.long(),
        mask=None if bool(mask.all()) else mask,
    )
