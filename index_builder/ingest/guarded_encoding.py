"""Encodes and stores batches so that no single photo stops a build.

A batch that fails is tried again in halves, down to the photos that are to blame. Those are skipped with a reason. What
no photo is to blame for stops the build: a full disk, a lost device, a service that ends, a network that fails on
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from index_builder.gallery_errors import GalleryError
from index_builder.ingest.decode import DecodedPhoto, Failed
from index_builder.photo_record import PhotoFile, shown_path
from index_builder.scanning.passed_over import Skipped
from index_builder.store.quantise import StoredTokens, TokenShape, quantise
from model.device_faults import free_cached_memory, is_memory_short
from model.errors import SketchseekError
from model.images.preprocess import normalised

if TYPE_CHECKING:
    from model.networks.network import Network

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]
_NOBODY_TO_BLAME = (SketchseekError, OSError, CancelledError, torch.AcceleratorError)


@dataclass(frozen=True)
class Encoded:
    """What became of a batch.

    Attributes:
        photos: those that were encoded, without their pixels.
        stored: their encodings, in one or several parts.
        failed: the rest.
    """

    photos: list[DecodedPhoto]
    stored: list[StoredTokens]
    failed: list[Failed]


class GuardedEncoder:
    """Encodes batches of photos on one thread, without those that cannot be encoded. Leaving it as a context manager
    frees what it prepared.

    Args:
        network: encodes them.
        shape: of what the gallery stores.
        batch_size: photos to encode at once.

    Attributes:
        batch_size: halved whenever the memory was too small for a batch.
    """

    def __init__(self, network: Network, shape: TokenShape, batch_size: int) -> None:
        self._network, self._shape, self.batch_size = network, shape, batch_size
        self._prepared = False

    def __enter__(self) -> GuardedEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._network.forget_batches()

    def prepare(self) -> None:
        """Prepare for whole batches, once. What fails here, and is told nobody, fails again in the first batch."""
        if not self._prepared:  # step by step, Python's lock would be asked for hundreds of times in each batch
            self._network.prepare_batches(self.batch_size)
            self._prepared = True

    def encode(self, photos: Sequence[DecodedPhoto]) -> Encoded:
        """Encode decoded photos.

        Raises:
            GalleryError: the memory is too small for a single photo.
            Exception: what no photo is to blame for.
        """
        if len(photos) == self.batch_size:
            self.prepare()
        done, stored = list[DecodedPhoto](), list[StoredTokens]()

        def encode(part: Sequence[DecodedPhoto]) -> None:
            pixels = _on_device([photo.pixels for photo in part if photo.pixels is not None], self._network.device)
            stored.append(self._encoded(normalised(pixels, self._network.preprocess)))
            done.extend(replace(photo, pixels=None) for photo in part)

        culprits = _in_halves(photos, encode, self._too_large)
        if culprits and len(culprits) == len(photos):  # all of them, or is it the network?
            size = self._network.preprocess.image_size
            self._encoded(torch.zeros(1, 3, size, size, device=self._network.device))
        return Encoded(done, stored, [_failed(photo, "cannot be encoded", error) for photo, error in culprits])

    def _encoded(self, images: torch.Tensor) -> StoredTokens:
        with torch.inference_mode():
            return quantise(self._network.encode_photo(images.to(self._network.dtype)), self._shape)

    def _too_large(self, photos: int) -> None:
        self.batch_size = max(1, min(self.batch_size, photos // 2))
        free_cached_memory()


class TakesRows(Protocol):
    """Where rows go: `GalleryWriter`, or files that somebody else commits."""

    def put(self, photos: Sequence[PhotoFile], ids: Sequence[str], stored: StoredTokens, *, replaces: bool) -> None:
        """See `GalleryWriter.put`."""
        ...


def put_guarded(
    writer: TakesRows,
    photos: Sequence[DecodedPhoto],
    ids: Sequence[str],
    stored: StoredTokens,
    *,
    replaces: bool,
) -> tuple[list[DecodedPhoto], list[Failed]]:
    """Commit or write encoded photos without those that cannot be stored.

    Args:
        writer: takes the rows.
        photos, ids, stored: B photos, their ids and their encodings.
        replaces: as of `GalleryWriter.put`.

    Returns:
        the photos that were committed, and the rest.

    Raises:
        GalleryWriteError: the disk is full or not writable; what was committed before is whole.
    """
    done = list[DecodedPhoto]()

    def put(rows: Sequence[int]) -> None:
        part = [photos[row] for row in rows]
        part_stored = StoredTokens(stored.descriptor[rows], stored.records[rows])
        writer.put(part, [ids[row] for row in rows], part_stored, replaces=replaces)
        done.extend(part)

    culprits = _in_halves(range(len(photos)), put, lambda _photos: None)
    return done, [_failed(photos[row], "cannot be stored", error) for row, error in culprits]


def _in_halves(
    items: Sequence[T], work: Callable[[Sequence[T]], None], too_large: Callable[[int], None]
) -> list[tuple[T, Exception]]:
    """Do `work` for all items, in halves where it fails. Returns the items that are to blame, each with its error."""
    try:
        work(items)
    except Exception as error:
        short = is_memory_short(error)
        if isinstance(error, _NOBODY_TO_BLAME) and not short:
            raise
        if short:
            if len(items) == 1:
                raise GalleryError(
                    "there is not enough memory to encode a single photo; end other programs, then run the same "
                    "command again"
                ) from error
            too_large(len(items))
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
    else:
        return []
    return _in_halves(items[:middle], work, too_large) + _in_halves(items[middle:], work, too_large)


def _on_device(photos: list[Pixels], device: torch.device) -> torch.Tensor:
    """[B, 3, S, S] uint8 there. On the way to a GPU the photos are put together in pinned memory."""
    if device.type == "cuda":
        try:
            batch = torch.empty((len(photos), *photos[0].shape), dtype=torch.uint8, pin_memory=True)
        except RuntimeError:  # the system lets no more memory be pinned
            return torch.from_numpy(np.stack(photos)).to(device)
        np.stack(photos, out=batch.numpy())
        return batch.to(device, non_blocking=True)  # PyTorch keeps the pinned memory until the copy is done
    return torch.from_numpy(np.stack(photos)).to(device)


def _failed(photo: DecodedPhoto, reason: str, error: Exception) -> Failed:
    """`unknown`: what the gallery has of this path stays, for the fault may be ours."""
    said = (str(error).splitlines() or [""])[0][:200]
    skipped = Skipped(shown_path(photo.raw_path), f"{reason} ({type(error).__name__}: {said})")
    return Failed(photo.raw_path, skipped, unknown=True)
