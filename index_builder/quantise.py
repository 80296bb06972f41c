"""How tokens are stored: int8 with one scale per token, and back. The only code that knows.

A token t of width D is stored as round(t / s) with s = max |t| / 127, one float32 s per token. Rounding leaves an error
of at most s / 2 in every value. A masked (padding) token is stored with scale 0, which no real token has.

One photo is one record of bytes, since reading it is one access where several columns are several: N x D int8 (tokens),
N float32 (scales), N - 1 uint16 (positions in the original patch grid), all little-endian.
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

TOKEN_ENCODING = "int8-per-token-record"  # noqa: S105 - a name, not a secret
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
    def record_bytes(self) -> int:
        """R, bytes of one photo's record."""
        return self.tokens * (self.width + 4) + (self.tokens - 1) * 2

    @property
    def bytes_per_photo(self) -> int:
        """Bytes of one photo's record and descriptor, before compression."""
        return self.record_bytes + self.descriptor * 4

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
        records: [B, R] uint8.
    """

    descriptor: npt.NDArray[np.float32]
    records: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.records)

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
    parts = (stored.cpu().numpy(), scales.cpu().numpy(), positions.cpu().numpy().astype(np.uint16))
    return StoredTokens(encoding.descriptor.detach().float().cpu().numpy(), record_of(*parts))


def record_of(
    tokens: npt.NDArray[np.int8], scales: npt.NDArray[np.float32], positions: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint8]:
    """[B, N, D], [B, N] and [B, N - 1] -> records [B, R]."""
    parts = (np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8) for part in (tokens, scales, positions))
    return np.concatenate(list(parts), axis=1)


def parts_of(records: Tensor, shape: TokenShape) -> tuple[Tensor, Tensor, Tensor]:
    """Records [B, R] uint8 -> tokens [B, N, D] int8, scales [B, N] float32, positions [B, N - 1] int64; any device."""
    first, second = shape.tokens * shape.width, shape.tokens * (shape.width + 4)
    values, scales, positions = records[:, :first], records[:, first:second], records[:, second:]
    # Copies, because a view as wider values needs an aligned start.
    return (
        values.view(torch.int8).reshape(len(records), shape.tokens, shape.width),
        scales.clone(memory_format=torch.contiguous_format).view(torch.float32),
        positions.clone(memory_format=torch.contiguous_format).view(torch.int16).long() & 0xFFFF,
    )


def dequantise(descriptor: Tensor, records: Tensor, shape: TokenShape, dtype: torch.dtype = torch.float32) -> Encoding:
    """Descriptors [B, E] and records [B, R] uint8, on any device -> Encoding there, tokens as `dtype`.

    The mask is None where no token is masked.
    """
    tokens, scales, positions = parts_of(records, shape)
    mask = scales > 0
    return Encoding(
        descriptor=descriptor,
        tokens=(tokens * scales[..., None]).to(dtype),
        positions=positions,
        mask=None if bool(mask.all()) else mask,
    )
