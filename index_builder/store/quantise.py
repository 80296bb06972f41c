"""How tokens are stored, in 8 or 4 bits per value with one scale per token, and read back. No other code knows.

A token t of width D is stored as round(t / s) with s = max |t| / L, one float32 s per token; L is 127 in 8 bits and 7
in 4. Rounding leaves an error of at most s / 2 in every value. A masked (padding) token is stored with scale 0, which
no real token has.

One photo is one record of bytes, because several columns would take several accesses: N tokens, N float32 (scales),
N - 1 uint16 (positions in the original patch grid), all little-endian. A token is D int8, or in 4 bits H =
ceil(D / 2) bytes: byte i holds value i in its lower half and value H + i in its upper half, each with 8 added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.types import Encoding

if TYPE_CHECKING:
    from model.networks.network import Network

TOKEN_ENCODING = "int8-per-token-record"  # noqa: S105 - a name, not a secret
_LEVELS = {8: 127, 4: 7}
# Presets whose tokens lose no quality in 4 bits, as measured in docs/decisions.md. All others keep 8.
_BITS = {"zse-lite": 4}
_OFFSET = 8  # added to a value of 4 bits, so that it is not negative
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TokenShape:
    """What every photo of one gallery has.

    Attributes:
        tokens: N, the retrieval token included.
        width: D.
        descriptor: E.
        bits: of one value of a token, 8 or 4.
    """

    tokens: int
    width: int
    descriptor: int
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in _LEVELS:
            raise ValueError(f"a value of a token is stored in 8 or 4 bits, not in {self.bits}")

    @staticmethod
    def of(network: Network) -> TokenShape:
        """What a new gallery for this network keeps."""
        bits = _BITS.get(network.config.preset, 8)
        return TokenShape(network.photo_tokens, network.token_width, network.descriptor_size, bits)

    @property
    def encoding(self) -> str:
        """Its name in a gallery's metadata."""
        return f"int{self.bits}-per-token-record"

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's values."""
        return (self.width * self.bits + 7) // 8

    @property
    def record_bytes(self) -> int:
        """R, bytes of one photo's record."""
        return self.tokens * (self.token_bytes + 4) + (self.tokens - 1) * 2

    @property
    def bytes_per_photo(self) -> int:
        """Bytes of one photo's record and descriptor, before compression."""
        return self.record_bytes + self.descriptor * 4

    def to_json(self) -> dict[str, int]:
        """Plain values for the dataset's metadata."""
        return {"tokens": self.tokens, "width": self.width, "descriptor": self.descriptor, "bits": self.bits}

    @staticmethod
    def from_json(values: dict[str, Any]) -> TokenShape:
        """What `to_json` wrote; galleries from before 4 bits do not name them."""
        tokens, width, descriptor = (int(values[name]) for name in ("tokens", "width", "descriptor"))
        return TokenShape(tokens, width, descriptor, int(values.get("bits", 8)))


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
    """Encodings of B photos -> what is stored. Masked tokens fill up to N.

    Raises:
        ValueError: more tokens than the gallery's shape holds, values that are not finite, or positions beyond uint16.
    """
    encoding = encoding.padded(shape.tokens)
    tokens = encoding.tokens.detach().float()
    levels = _LEVELS[shape.bits]
    scales = (tokens.abs().amax(dim=-1) / levels).clamp_min(_SMALLEST_SCALE)
    stored = torch.round(tokens / scales[..., None]).clamp_(-levels, levels).to(torch.int8)
    positions = encoding.positions
    kept = scales
    if encoding.mask is not None:
        kept = scales * encoding.mask
        stored = stored * encoding.mask[..., None]
        positions = positions * encoding.mask[:, 1:]
    values = stored if shape.bits == 8 else packed(stored)
    # Checked once they are here: a GPU asked for each answer by itself would be waited for each time.
    finite, rounded, steps, places = (one.cpu().numpy() for one in (scales, values, kept, positions))
    descriptor = encoding.descriptor.detach().float().cpu().numpy()
    if not (np.isfinite(finite).all() and np.isfinite(descriptor).all()):
        raise ValueError("the network gave values that are not finite")
    if places.size and (places.max() > np.iinfo(np.uint16).max or places.min() < 0):
        raise ValueError("patch positions do not fit into 16 bits")
    return StoredTokens(descriptor, record_of(rounded, steps, places.astype(np.uint16)))


def packed(values: Tensor) -> Tensor:
    """[..., D] int8 in [-7, 7] -> [..., ceil(D / 2)] uint8, two to a byte."""
    shifted = torch.nn.functional.pad(values + _OFFSET, (0, values.shape[-1] % 2)).to(torch.uint8)
    lower, upper = shifted.chunk(2, dim=-1)
    return lower | (upper << 4)


def unpacked(values: Tensor, width: int) -> Tensor:
    """[..., ceil(D / 2)] uint8 -> [..., D] int8 in [-7, 7]."""
    return torch.cat([values & 15, values >> 4], dim=-1).view(torch.int8).sub_(_OFFSET)[..., :width]


def record_of(
    tokens: npt.NDArray[np.int8] | npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
    positions: npt.NDArray[np.uint16],
) -> npt.NDArray[np.uint8]:
    """[B, N, D] int8 or packed, [B, N] and [B, N - 1] -> records [B, R]."""
    parts = (np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8) for part in (tokens, scales, positions))
    return np.concatenate(list(parts), axis=1)


def parts_of(records: Tensor, shape: TokenShape) -> tuple[Tensor, Tensor, Tensor]:
    """Records [B, R] uint8 -> tokens [B, N, D] int8, scales [B, N] float32, positions [B, N - 1] int64; any device."""
    first, second = shape.tokens * shape.token_bytes, shape.tokens * (shape.token_bytes + 4)
    values, scales, positions = records[:, :first], records[:, first:second], records[:, second:]
    tokens = values.reshape(len(records), shape.tokens, shape.token_bytes)
    # Copied, because a view as wider values needs an aligned start.
    return (
        tokens.view(torch.int8) if shape.bits == 8 else unpacked(tokens, shape.width),
        scales.clone(memory_format=torch.contiguous_format).view(torch.float32),
        positions.clone(memory_format=torch.contiguous_format).view(torch.int16).long() & 0xFFFF,
    )


def has_masked(records: npt.NDArray[np.uint8], shape: TokenShape) -> bool:
    """Whether any token of the records [B, R] is masked."""
    first = shape.tokens * shape.token_bytes
    scales = np.ascontiguousarray(records[:, first : first + 4 * shape.tokens]).view(np.float32)
    return bool((scales == 0).any())


def dequantise(
    descriptor: Tensor,
    records: Tensor,
    shape: TokenShape,
    dtype: torch.dtype = torch.float32,
    *,
    masked: bool = True,
) -> Encoding:
    """Descriptors [B, E] and records [B, R] uint8, on any device -> Encoding there, tokens as `dtype`.

    The mask is None where no token is masked; with `masked` false there is none to look for.
    """
    tokens, scales, positions = parts_of(records, shape)
    mask = scales > 0 if masked else None
    return Encoding(
        descriptor=descriptor,
        tokens=(tokens * scales[..., None]).to(dtype),
        positions=positions,
        mask=None if mask is None or bool(mask.all()) else mask,
    )
