"""The photos of a version for an index outside this process, each under a key that follows from its row."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from index_builder.index.version_photos import VersionPhotos
from index_builder.reading.photo_table import PhotoTable


def version_photos(table: PhotoTable) -> VersionPhotos:
    """All photos of a table. Takes a few seconds for a million, since every row is hashed."""
    columns = table.columns
    return VersionPhotos(
        keys=np.fromiter(map(_key, *table.identifying_values()), dtype=np.int64, count=len(table)),
        taken_ns=columns.taken_ns,
        added_ns=columns.added_ns,
        shapes=columns.orientations,
        types=columns.types,
        tags=columns.rows_of_tags,
        folders=columns.folders,
        folder_codes=columns.folder_codes,
    )


def _key(photo_id: bytes, path: bytes, content_hash: bytes, numbers: tuple[int, ...]) -> int:
    """63 bits of a hash: among a hundred million photos, two share a key with a chance of one in two thousand."""
    packed = struct.pack(f"<{len(numbers) + 1}q", len(path), *numbers)
    digest = hashlib.blake2b(packed + photo_id + content_hash + path, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
