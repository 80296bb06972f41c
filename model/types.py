"""What passes between the stages: encodings of images and relations between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Encoding:
    """What the encoder says of a batch of B images, sketches and photos alike.

    Attributes:
        descriptor: [B, E] float32, L2-normalised, but photos' may be shorter (`model/layers/familiarity.py`). The
            recall score is the inner product of two.
        tokens: [B, N, D], what cross-attention reads; the retrieval token first, then N - 1 kept patch tokens.
        positions: [B, N - 1] int64, index of each kept patch in the ORIGINAL patch grid, row by row; 0 where masked.
        mask: [B, N] bool, True for real tokens, or None where all are real. The retrieval token is always real.
    """

    descriptor: Tensor
    tokens: Tensor
    positions: Tensor
    mask: Tensor | None = None

    @property
    def retrieval_token(self) -> Tensor:
        """[B, D]: token 0 as it leaves the encoder."""
        return self.tokens[:, 0]

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Encoding:
        """The encodings of some of the images, in the order asked for."""
        mask = None if self.mask is None else self.mask[rows]
        return Encoding(self.descriptor[rows], self.tokens[rows], self.positions[rows], mask)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Encoding:
        """On `device`; tokens as `dtype` where given. The descriptor stays float32."""
        return replace(
            self,
            descriptor=self.descriptor.to(device),
            tokens=self.tokens.to(device, dtype or self.tokens.dtype),
            positions=self.positions.to(device),
            mask=None if self.mask is None else self.mask.to(device),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def clone(self) -> Encoding:
        """The same with memory of its own."""
        return Encoding(*(tensor.clone() for tensor in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        tensors = [self.descriptor, self.tokens, self.positions]
        return tensors if self.mask is None else [*tensors, self.mask]

    @staticmethod
    def concatenate(parts: list[Encoding]) -> Encoding:
        """One batch out of several; shorter ones are padded with masked tokens."""
        length = max(part.tokens.shape[1] for part in parts)
        padded = [part.padded(length) for part in parts]
        masks = [part.mask for part in padded]
        mask = None
        if any(m is not None for m in masks):
            mask = torch.cat(
                [p.tokens.new_ones(p.tokens.shape[:2], dtype=torch.bool) if p.mask is None else p.mask for p in padded]
            )
        return Encoding(
            descriptor=torch.cat([p.descriptor for p in padded]),
            tokens=torch.cat([p.tokens for p in padded]),
            positions=torch.cat([p.positions for p in padded]),
            mask=mask,
        )

    def padded(self, length: int) -> Encoding:
        """The same encodings with masked zero tokens up to `length` tokens (including the retrieval token)."""
        batch, count, width = self.tokens.shape
        if count == length:
            return self
        if count > length:
            raise ValueError(f"cannot pad {count} tokens down to {length}")
        extra = length - count
        mask = self.tokens.new_ones((batch, count), dtype=torch.bool) if self.mask is None else self.mask
        return Encoding(
            descriptor=self.descriptor,
            tokens=torch.cat([self.tokens, self.tokens.new_zeros(batch, extra, width)], dim=1),
            positions=torch.cat([self.positions, self.positions.new_zeros(batch, extra)], dim=1),
            mask=torch.cat([mask, mask.new_zeros(batch, extra)], dim=1),
        )


@dataclass(frozen=True)
class RelationAttention:
    """Why a sketch and a photo were related: weights between their tokens, for S sketches and P photos.

    Attributes:
        sketch_to_photo: [S, P, Ns, Np] float32, cross-attention of each sketch token over the photo's tokens, averaged
            over heads, or what is read off the kernel where there is none; rows sum to 1 over real tokens. Token 0 is
            the retrieval token.
        photo_to_sketch: [S, P, Np, Ns] float32, the same from each photo token over the sketch's tokens.
        kernel: [S, P, Ns - 1, Np - 1] float32 in [-1, 1], similarity of patch tokens as the relation network reads it,
            or None where the kernel is no map of the image (the upstream variant).
    """

    sketch_to_photo: Tensor
    photo_to_sketch: Tensor
    kernel: Tensor | None = None


@dataclass(frozen=True)
class Relation:
    """The relation of every one of S sketches to every one of P photos.

    Attributes:
        logit: [S, P] float32, unbounded; rank on this.
        score: [S, P] float32 in [0, 1], the sigmoid of the logit.
        attention: which patches matched which, for explanations; None unless asked for, or where the network matches
            none.
        photo_map: [S, P, Np - 1] float32, how much each of the photo's patches counted for each sketch, rows sum to 1
            over real patches; of networks that weigh the photo's patches without matching them, if asked for.
    """

    logit: Tensor
    score: Tensor
    attention: RelationAttention | None = None
    photo_map: Tensor | None = None
