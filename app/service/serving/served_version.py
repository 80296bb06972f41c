"""One version of the gallery as it is served: loaded, and warm before the first client comes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.remembered_encodings import RememberedEncodings
from app.search.searcher import TwoStageSearcher
from app.settings import Settings
from index_builder import GallerySnapshot, PhotoRecord
from index_builder.gallery_errors import UnknownPhotoError
from index_builder.photo_folders import PhotoFolders
from model.networks.network import Network


@dataclass(frozen=True)
class ServedVersion:
    """One version of the gallery, loaded and warm.

    Attributes:
        searcher: over its snapshot.
    """

    searcher: TwoStageSearcher

    @property
    def folders(self) -> PhotoFolders:
        """Where its photos lie."""
        return self.snapshot.folders

    @property
    def snapshot(self) -> GallerySnapshot:
        """The version's photos."""
        return self.searcher.snapshot

    def photo(self, photo_id: str) -> PhotoRecord:
        """The record of a photo.

        Raises:
            UnknownPhotoError: this version has no photo of that id.
        """
        return self.snapshot.photo(self.snapshot.row_of(photo_id))

    def has(self, photo_id: str) -> bool:
        """Whether this version has a photo of that id."""
        try:
            self.snapshot.row_of(photo_id)
        except UnknownPhotoError:
            return False
        return True


def load_version(settings: Settings, network: Network, remembered: RememberedEncodings | None = None) -> ServedVersion:
    """The latest version of the gallery, not yet warm.

    Args:
        settings: where it lies, and how it is searched.
        network: searches it.
        remembered: that network's encodings of pictures that searched lately.

    Raises:
        SketchseekError: it cannot be served.
    """
    snapshot = GallerySnapshot.load(
        settings.gallery,
        network.identity,
        photos=settings.photo_folders,
        recall=settings.recall_settings,
        hash_projection=network.hash_projection,
        device=network.device,
        dtype=network.dtype,
        cache_bytes=settings.token_cache_bytes,
        preload=True,
    )
    pairs = settings.pairs_together(on_gpu=network.device.type == "cuda")
    return ServedVersion(TwoStageSearcher(network, snapshot, pairs, remembered))


def warm_up(searcher: TwoStageSearcher) -> None:
    """One whole search, so that the first client does not pay for one-time work; on the device's own thread."""
    searcher.network.warm_up()
    size = searcher.network.preprocess.image_size
    next(searcher.search_many([QueryParts(torch.zeros(3, size, size))], [Query()]))
    searcher.snapshot.facets()  # makes the arrays that filters look at
