"""Galleries of any size for benchmarks, with random tokens and with descriptors that cluster as those of photos do.

Random tokens take as long as real ones, but say nothing about quality.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder import GallerySnapshot, RecallSettings
from index_builder.index.candidate_index import Selection
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.photo_filter import ALL_PHOTOS, PhotoFilter
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, photo_id
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.opening_writer import open_writer
from index_builder.store.places import GalleryPlace
from index_builder.store.quantise import StoredTokens, TokenShape, record_of
from model.networks.network import CheckpointIdentity, Network
from model.types import Encoding

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
COMMIT = 4096


def descriptors(count: int, size: int, seed: int, photos: int | None = None) -> Floats:
    """[count, size] float32 unit vectors, about 500 around each centre; the same centres for every seed.

    They vary in 32 directions and a little in all, as descriptors of real photos lie around their categories.
    """
    fixed = np.random.default_rng(0)
    directions = fixed.normal(size=(32, size)).astype(np.float32) / np.sqrt(32)
    centres = fixed.normal(size=(max(1, (photos or count) // 500), size)).astype(np.float32)
    rng = np.random.default_rng(seed)
    values = np.empty((count, size), dtype=np.float32)
    for start in range(0, count, 65536):
        number = min(65536, count - start)
        piece = centres[rng.integers(0, len(centres), number)]
        piece += rng.standard_normal((number, 32), dtype=np.float32) @ directions
        piece += 0.2 * rng.standard_normal((number, size), dtype=np.float32)
        values[start : start + number] = piece / np.linalg.norm(piece, axis=1, keepdims=True)
    return values


def random_records(count: int, shape: TokenShape, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Stored tokens of `count` photos."""
    tokens = rng.integers(-127, 128, (count, shape.tokens, shape.token_bytes), dtype=np.int8)
    scales = np.full((count, shape.tokens), 1 / 64, dtype=np.float32)
    positions = np.tile(np.arange(shape.tokens - 1, dtype=np.uint16), (count, 1))
    return record_of(tokens, scales, positions)


def write_gallery(folder: Path, count: int, shape: TokenShape, identity: CheckpointIdentity) -> float:
    """Write a gallery of random photos that belongs to no network; the seconds it took."""
    metadata = GalleryMetadata("synthetic", identity.sha256, "synthetic", shape, 14, PhotoFolders.of(folder))
    return write_photos(folder, count, metadata)


def write_photos(folder: GalleryPlace, count: int, metadata: GalleryMetadata) -> float:
    """Write a gallery of random photos; the seconds it took."""
    shape, rng = metadata.shape, np.random.default_rng(0)
    started = time.perf_counter()
    with open_writer(folder, metadata) as writer:
        for start in range(0, count, COMMIT):
            rows = range(start, min(start + COMMIT, count))
            photos = [PhotoFile(f"category{i % 200}/{i}.jpg".encode(), rng.bytes(32), 1, 1, 1, 640, 480) for i in rows]
            found = descriptors(len(rows), shape.descriptor, seed=start, photos=count)
            ids = [photo_id(photo.raw_path, photo.content_hash) for photo in photos]
            writer.put(photos, ids, StoredTokens(found, random_records(len(rows), shape, rng)), replaces=False)
    return time.perf_counter() - started


def shape_of(network: Network) -> TokenShape:
    """What a network's photos take."""
    return TokenShape.of(network)


@dataclass
class SizedSnapshot:
    """A snapshot whose recall searches `count` descriptors and whose tokens are those of a smaller gallery."""

    stored: GallerySnapshot
    index: RecallIndex
    tokens_ms: list[float] = field(default_factory=list)
    clock: Callable[[], float] = time.perf_counter

    @staticmethod
    def make(stored: GallerySnapshot, count: int, size: int) -> SizedSnapshot:
        """Search `count` synthetic descriptors; fewer than IVF's threshold are searched exactly."""
        settings = RecallSettings()
        kind = settings.kind_for(count)
        assert kind in ("flat", "ivf"), "what nobody asked for"
        return SizedSnapshot(stored, RecallIndex(build_index(descriptors(count, size, seed=1), kind), settings))

    def __len__(self) -> int:
        return len(self.index)

    def recall(self, queries: Floats, k: int, selection: Selection | None = None) -> tuple[Rows, Floats]:
        """See `GallerySnapshot.recall`."""
        return self.index.search(queries, k, selection)

    def searched_descriptors(self, rows: Rows) -> Floats:
        """See `GallerySnapshot.searched_descriptors`."""
        return self.index.descriptors(rows)

    def select(self, chosen: PhotoFilter = ALL_PHOTOS, left_out: tuple[int, ...] = ()) -> None:
        """No filter."""
        assert (chosen, left_out) == (ALL_PHOTOS, ())

    @property
    def newest_first(self) -> Rows:
        """All as old as each other."""
        return np.arange(len(self))

    def encodings(self, rows: Rows) -> Encoding:
        """Tokens of other photos; the time it took is kept."""
        started = self.clock()
        found = self.stored.encodings(np.asarray(rows) % len(self.stored))
        self.tokens_ms.append(1e3 * (self.clock() - started))
        return found

    def photos(self, rows: Sequence[int]) -> Any:
        """Other photos' records."""
        return self.stored.photos([row % len(self.stored) for row in rows])
