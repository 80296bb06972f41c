"""Which photos of a gallery have a content, without opening the gallery for searching."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index_builder.gallery_errors import GalleryNotFoundError
from index_builder.photo_record import PhotoRecord
from index_builder.reading.photo_table import columns_of, record_of
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors
from index_builder.store.places import GalleryPlace


def photos_of_content(gallery: str | GalleryPlace, hashes: Collection[bytes]) -> list[PhotoRecord]:
    """Photos of the latest version that have one of these contents, in the order of their paths.

    Args:
        gallery: its folder; one that does not exist has no photos.
        hashes: SHA-256 of contents, 32 bytes each.
    """
    try:
        dataset = Gallery.open(gallery).dataset()
    except GalleryNotFoundError:
        return []
    with lance_errors(f"cannot read the photos of the gallery {gallery}"):
        column = dataset.to_table(columns=["content_hash"]).column("content_hash")
        rows = np.flatnonzero(pc.is_in(column, pa.array(hashes, type=column.type)).to_numpy())
        found = dataset.take(rows.tolist(), columns=columns_of(dataset)).to_pylist()
    return sorted(map(record_of, found), key=lambda photo: photo.raw_path)
