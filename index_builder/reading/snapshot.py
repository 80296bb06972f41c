"""One version of a gallery, ready to search: photo table, recall index and token reader. Never changes once loaded."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from index_builder.index.cache_note import Origin
from index_builder.index.candidate_index import CandidateIndex, Descriptors, Selection
from index_builder.index.opening import open_recall
from index_builder.index.settings import RecallSettings
from index_builder.index.version_photos import VersionSource
from index_builder.photo_filter import ALL_PHOTOS, PhotoFilter
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.photo_record import PhotoRecord
from index_builder.reading.facets import Facets, facets_of
from index_builder.reading.photo_keys import version_photos
from index_builder.reading.photo_table import PhotoTable
from index_builder.store.checksums import file_sum
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors, manifest_name, oldest_commit, reached
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.places import GalleryPlace
from index_builder.store.token_pool import Rows
from index_builder.store.token_reader import TokenReader, fixed_size, take_rows
from model.types import Encoding

if TYPE_CHECKING:
    from model.networks.network import CheckpointIdentity

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
        folders: where the photos lie.
        load_times: what loading cost.
    """

    version: str
    metadata: GalleryMetadata
    folders: PhotoFolders
    load_times: LoadTimes
    _photos: PhotoTable = field(repr=False)
    _recall: CandidateIndex = field(repr=False)
    _tokens: TokenReader = field(repr=False)

    @staticmethod
    def load(
        gallery: str | GalleryPlace,
        identity: CheckpointIdentity,
        *,
        photos: Photos | None = None,
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
            photos: where the photos are now; None takes what the gallery remembers.
            recall: how candidates are found; None takes the defaults. On its device "auto", `device` counts.
            hash_projection: the network's, for recall by learnt hash codes, or None.
            device, dtype: of the encodings that `encodings` gives.
            cache_bytes: most that the token cache may take on `device`; 0 turns it off.
            preload: fill the token cache now if everything fits.

        Raises:
            GalleryNotFoundError: no gallery there.
            GalleryMismatchError: built with another checkpoint.
            GalleryDamagedError: names the damaged file.
            DeviceError: recall must have a GPU and there is none.
            RecallServerError: recall is on a server that does not answer.
            RecallCollectionError: what that server holds belongs to another gallery.
        """
        started = time.perf_counter()
        settings = replace(recall or RecallSettings(), network_device=str(device))
        opened = Gallery.open(gallery)
        dataset = opened.dataset()
        metadata = opened.metadata(dataset)
        metadata.check(identity)
        with lance_errors(f"cannot read the photos of the gallery {gallery}"):
            table, places = PhotoTable.read(dataset)
        table_s = time.perf_counter() - started

        def descriptors() -> Descriptors:
            with lance_errors(f"cannot read the descriptors of the gallery {gallery}"):
                return fixed_size(dataset.to_table(columns=["descriptor"]), "descriptor")[places]

        def manifest_sum(commit: int) -> str | None:
            with reached(opened.path):
                try:
                    return file_sum(opened.dataset_path / manifest_name(commit)).sha256
                except FileNotFoundError:
                    return None

        version = f"{opened.generation}.{dataset.version}"
        with reached(opened.path):
            source = file_sum(opened.dataset_path / manifest_name(dataset.version)).sha256
        started = time.perf_counter()
        searcher, cached = open_recall(
            opened.path,
            Origin(version, source, identity.sha256),
            settings=settings,
            photos=len(table),
            read=descriptors,
            outside=VersionSource(
                gallery=opened.identity,
                size=metadata.shape.descriptor,
                photos=lambda: version_photos(table),
                take=lambda rows: fixed_size(take_rows(dataset, places[rows], ["descriptor"]), "descriptor"),
                oldest=lambda: oldest_commit(dataset),
                manifest=manifest_sum,
            ),
            learnt=None if hash_projection is None else hash_projection.numpy(),
        )
        snapshot = GallerySnapshot(
            version=version,
            metadata=metadata,
            folders=metadata.folders if photos is None else PhotoFolders.of(photos).over(metadata.folders),
            load_times=LoadTimes(table_s, time.perf_counter() - started, cached),
            _photos=table,
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
        return len(self._photos)

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that encoded it."""
        return self.metadata.checkpoint

    @property
    def recall_kind(self) -> str:
        """How candidates are found, and where: such as "flat on cpu"."""
        return f"{self._recall.kind} {self._recall.place}"

    @property
    def recall_problem(self) -> str | None:
        """Why candidates are found on the CPU although there is a GPU, as a sentence for people; None otherwise."""
        return self._recall.gpu_problem

    @property
    def recall_away(self) -> str | None:
        """Why no candidates can be found at the moment, as a sentence for people; None while they can."""
        return self._recall.away

    def look_at_recall(self) -> bool:
        """As `CandidateIndex.look`."""
        return self._recall.look()

    @property
    def cache_counts(self) -> tuple[int, int]:
        """Rows that the token cache had, and had not, since loading."""
        return self._tokens.counts

    @property
    def tags(self) -> dict[str, int]:
        """Every tag and the number of its photos, in alphabetical order."""
        return self._photos.tags

    @property
    def photo_ids(self) -> list[str]:
        """All photo ids, in the order of rows."""
        return self._photos.photo_ids

    @property
    def as_of(self) -> datetime | None:
        """When the latest of its photos was added, rounded up to a microsecond; None without photos.

        A filter of this `as_of` lets these photos through, and none that is added later.
        """
        return self._photos.columns.as_of

    @property
    def newest_first(self) -> Rows:
        """[n] int64: the place of each row among all, sorted by date taken, the newest first, and by photo id."""
        return self._photos.columns.newest_first

    def recall(
        self, descriptors: Descriptors, k: int, selection: Selection | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The k most similar photos of each query, exact ties by `newest_first`.

        Arguments and results as of `CandidateIndex.search`.
        """
        return self._recall.search(descriptors, k, selection, self.newest_first)

    def select(
        self,
        chosen: PhotoFilter = ALL_PHOTOS,
        photo_ids: Collection[str] | None = None,
        left_out: Collection[int] = (),
    ) -> Selection | None:
        """Which photos a filter lets through, or None for all; arguments as of `PhotoTable.select`."""
        return self._photos.select(chosen, photo_ids, left_out)

    def facets(self, chosen: PhotoFilter = ALL_PHOTOS) -> Facets:
        """How many photos each further choice would leave, as `index_builder.reading.facets` counts them."""
        return facets_of(self._photos.columns, chosen)

    def check(self, chosen: PhotoFilter) -> None:
        """Check that this version has the tags and the folder that a filter names; raises as `PhotoTable.check`."""
        self._photos.check(chosen)

    def encodings(self, rows: Rows | Sequence[int]) -> Encoding:
        """Rows [k] -> Encoding of those photos, dequantised, on the device and in the dtype of `load`.

        Their descriptors are those that are searched, in half precision. `descriptors` gives the network's own.
        """
        return self._tokens.encodings(np.asarray(rows, dtype=np.int64))

    def descriptors(self, rows: Rows | Sequence[int]) -> Descriptors:
        """Rows [k] -> their descriptors [k, E] float32, as the network made them, from disk."""
        return self._tokens.descriptors(np.asarray(rows, dtype=np.int64))

    def searched_descriptors(self, rows: Rows | Sequence[int]) -> Descriptors:
        """Rows [k] -> their descriptors [k, E] float32 as they are searched: from memory, in half precision."""
        return self._recall.descriptors(np.asarray(rows, dtype=np.int64))

    def photo(self, row: int) -> PhotoRecord:
        """What is known of the photo in a row.

        Raises:
            IndexError: a row outside [0, n).
        """
        return self._photos.photo(row)

    def photos(self, rows: Sequence[int]) -> list[PhotoRecord]:
        """What is known of the photos in some rows, in the order asked for; raises as `photo`."""
        return self._photos.photos(rows)

    def raw_paths(self) -> Iterator[bytes]:
        """Every photo's path as the gallery writes it, in the order of rows."""
        return self._photos.raw_paths()

    def row_of(self, photo_id: str) -> int:
        """The row of a photo id.

        Raises:
            UnknownPhotoError: this version has no such photo.
        """
        return self._photos.row_of(photo_id)

    def photos_of(self, content_hash: bytes) -> list[PhotoRecord]:
        """The photos that have a content, by its SHA-256."""
        return self.photos(self._photos.rows_of(content_hash))

    def file_of(self, row: int) -> Path:
        """The photo's file, which may have gone since.

        Raises:
            FileNotFoundError: its folder does not belong to the gallery any more.
        """
        return Path(os.fsdecode(self.folders.absolute(self._photos.raw_path(row))))
