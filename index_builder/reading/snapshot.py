"""One version of a gallery, ready to search: photo table, recall index and token reader. Never changes once loaded."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from index_builder.gallery_errors import UnknownPhotoError
from index_builder.index.cache_note import Origin
from index_builder.index.faiss_search import CandidateIndex, Descriptors
from index_builder.index.opening import open_recall
from index_builder.index.settings import RecallSettings
from index_builder.photo_record import PhotoRecord, absolute, from_ns, shown_path
from index_builder.store.checksums import file_sum
from index_builder.store.gallery import Gallery, GalleryMetadata
from index_builder.store.layout import lance_errors, manifest_name
from index_builder.store.token_reader import Rows, TokenReader, fixed_size
from model.types import Encoding

if TYPE_CHECKING:
    from model.networks.network import CheckpointIdentity

_TABLE = ("photo_id", "path", "content_hash", "size", "modified_ns", "width", "height", "tags", "added_ns")
DEFAULT_CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class LoadTimes:
    """Seconds that loading took: the photo table, the recall index, and whether that came from the cache."""

    table_s: float
    recall_s: float
    recall_cached: bool


@dataclass(frozen=True)
class GallerySnapshot:
    """One version of a gallery; n photos, in the order of their ids. Safe to use from several threads.

    Attributes:
        version: opaque text, another one for every commit.
        metadata: what the gallery is bound to.
        root: folder that the photos' paths are relative to.
        load_times: what loading cost.
    """

    version: str
    metadata: GalleryMetadata
    root: Path
    load_times: LoadTimes
    _table: pa.Table = field(repr=False)
    _ids: npt.NDArray[np.bytes_] = field(repr=False)
    _recall: CandidateIndex = field(repr=False)
    _tokens: TokenReader = field(repr=False)

    @staticmethod
    def load(
        gallery: str | Path,
        identity: CheckpointIdentity,
        *,
        root: str | Path | None = None,
        recall: RecallSettings | None = None,
        hash_projection: torch.Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        preload: bool = False,
    ) -> GallerySnapshot:
        """The latest version of a gallery.

        Args:
            gallery: its folder.
            identity: of the network that sketches are encoded with.
            root: where the photos are now; None takes what the gallery remembers.
            recall: how candidates are found; None takes the defaults.
            hash_projection: the network's, for recall by learnt hash codes; None where it has none.
            device, dtype: of the encodings that `encodings` gives.
            cache_bytes: most that the token cache may take on `device`; 0 turns it off.
            preload: fill the token cache now if everything fits.

        Raises:
            GalleryNotFoundError: no gallery there.
            GalleryMismatchError: built with another checkpoint.
            GalleryDamagedError: a file is damaged; named.
        """
        started = time.perf_counter()
        settings = recall or RecallSettings()
        opened = Gallery.open(gallery)
        dataset = opened.dataset()
        metadata = opened.metadata(dataset)
        metadata.check(identity)
        with lance_errors(f"cannot read the photos of the gallery {gallery}"):
            table = dataset.to_table(columns=list(_TABLE))
        ids = np.array(table.column("photo_id").to_pylist(), dtype="S32")
        places = np.argsort(ids, kind="stable").astype(np.int64)
        table = table.take(pa.array(places))
        table_s = time.perf_counter() - started

        def descriptors() -> Descriptors:
            with lance_errors(f"cannot read the descriptors of the gallery {gallery}"):
                return fixed_size(dataset.to_table(columns=["descriptor"]), "descriptor")[places]

        version = f"{opened.generation}.{dataset.version}"
        source = file_sum(opened.dataset_path / manifest_name(dataset.version)).sha256
        started = time.perf_counter()
        searcher, cached = open_recall(
            opened.path,
            Origin(version, source, identity.sha256),
            settings=settings,
            photos=len(places),
            read=descriptors,
            learnt=None if hash_projection is None else hash_projection.numpy(),
        )
        snapshot = GallerySnapshot(
            version=version,
            metadata=metadata,
            root=Path(root) if root is not None else Path(metadata.root),
            load_times=LoadTimes(table_s, time.perf_counter() - started, cached),
            _table=table,
            _ids=ids[places],
            _recall=searcher,
            _tokens=TokenReader(
                dataset,
                places,
                metadata.shape,
                searcher.descriptors,
                device=device,
                dtype=dtype,
                cache_bytes=cache_bytes,
            ),
        )
        if preload:
            snapshot._tokens.warm()
        return snapshot

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that encoded it."""
        return self.metadata.checkpoint

    @property
    def recall_kind(self) -> str:
        """How candidates are found, and where: such as "flat on cpu"."""
        return f"{self._recall.kind} on {self._recall.device}"

    @property
    def cache_counts(self) -> tuple[int, int]:
        """Rows that the token cache had, and had not, since loading."""
        return self._tokens.hits, self._tokens.misses

    @cached_property
    def tags(self) -> dict[str, int]:
        """Every tag and the number of its photos, in alphabetical order."""
        return {tag: len(rows) for tag, rows in sorted(self._rows_of_tags.items())}

    @property
    def photo_ids(self) -> list[str]:
        """All photo ids, in the order of rows."""
        return [photo_id.decode("ascii") for photo_id in self._ids]

    def recall(
        self, descriptors: Descriptors, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The k most similar photos of each query; arguments and results as of `CandidateIndex.search`."""
        return self._recall.search(descriptors, k, allowed)

    def allowed(
        self, tags: Collection[str] = (), photo_ids: Collection[str] | None = None
    ) -> npt.NDArray[np.bool_] | None:
        """Which photos a filter lets through.

        Args:
            tags: photos with any of these; none means no filter.
            photo_ids: only these (unknown ids are ignored); None means no filter.

        Returns:
            [n] bool, or None where everything is allowed.
        """
        if not tags and photo_ids is None:
            return None
        mask = np.ones(len(self), dtype=bool)
        if tags:
            tagged = np.zeros(len(self), dtype=bool)
            for tag in tags:
                tagged[self._rows_of_tags.get(tag, np.empty(0, dtype=np.int64))] = True
            mask &= tagged
        if photo_ids is not None:
            chosen = np.zeros(len(self), dtype=bool)
            chosen[[row for row in map(self._find, photo_ids) if row is not None]] = True
            mask &= chosen
        return mask

    def encodings(self, rows: Rows | Sequence[int]) -> Encoding:
        """Rows [k] -> Encoding of those photos, dequantised, on the device and in the dtype of `load`.

        Descriptors are those that are searched, in half precision; `descriptors` has them as the network gave them.
        """
        return self._tokens.encodings(np.asarray(rows, dtype=np.int64))

    def descriptors(self, rows: Rows | Sequence[int]) -> Descriptors:
        """Rows [k] -> their descriptors [k, E] float32, as queries for similar photos."""
        return self._tokens.descriptors(np.asarray(rows, dtype=np.int64))

    def searched_descriptors(self, rows: Rows | Sequence[int]) -> Descriptors:
        """Rows [k] -> their descriptors [k, E] float32 as they are searched: from memory, in half precision."""
        return self._recall.descriptors(np.asarray(rows, dtype=np.int64))

    def photo(self, row: int) -> PhotoRecord:
        """What is known of the photo in a row.

        Raises:
            IndexError: a row outside [0, n).
        """
        if not 0 <= row < len(self):
            raise IndexError(f"rows must lie in [0, {len(self)})")
        values: dict[str, Any] = self._table.slice(row, 1).to_pylist()[0]
        return PhotoRecord(
            photo_id=values["photo_id"],
            path=shown_path(values["path"]),
            raw_path=values["path"],
            tags=tuple(values["tags"]),
            width=values["width"],
            height=values["height"],
            content_hash=values["content_hash"].hex(),
            size=values["size"],
            modified=from_ns(values["modified_ns"]),
            added=from_ns(values["added_ns"]),
        )

    def row_of(self, photo_id: str) -> int:
        """The row of a photo id.

        Raises:
            UnknownPhotoError: this version has no such photo.
        """
        row = self._find(photo_id)
        if row is None:
            raise UnknownPhotoError("this gallery has no photo of that id; it may have been changed or removed since")
        return row

    def file_of(self, row: int) -> Path:
        """The photo's file, which may have gone since."""
        return Path(os.fsdecode(absolute(self.root, self._table.column("path")[row].as_py())))

    def _find(self, photo_id: str) -> int | None:
        if not photo_id.isascii():
            return None
        key = photo_id.encode("ascii")
        row = int(np.searchsorted(self._ids, key))
        return row if row < len(self._ids) and self._ids[row] == key else None

    @cached_property
    def _rows_of_tags(self) -> dict[str, npt.NDArray[np.int64]]:
        column = self._table.column("tags").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
        flat = column.flatten().dictionary_encode()
        rows = np.repeat(np.arange(len(column), dtype=np.int64), np.diff(column.offsets.to_numpy()))
        codes = flat.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(flat.dictionary) + 1))
        return {
            tag: rows[order[bounds[code] : bounds[code + 1]]] for code, tag in enumerate(flat.dictionary.to_pylist())
        }
