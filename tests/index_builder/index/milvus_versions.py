"""Versions of a gallery that consist of numbers alone, and indices over them in Milvus and in FAISS."""

from __future__ import annotations

import numpy as np

from index_builder.index.cache_note import Origin
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.milvus_index import open_milvus_index
from index_builder.index.settings import RecallSettings
from index_builder.index.version_photos import VersionPhotos, VersionSource

SIZE = 16
TOKEN = "root:Milvus"
"""What a new Milvus accepts if it asks for a token."""


def descriptors_of(count, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


class Made:
    """Photos that are made up, of which each version has some.

    Args:
        gallery: its identity; another one is another collection.
        count: all photos there may ever be.
    """

    def __init__(self, url, gallery, count=300, *, token=None, checkpoint="c", kind="flat"):
        rng = np.random.default_rng(7)
        self.gallery, self.checkpoint, self.count = gallery, checkpoint, count
        self.settings = RecallSettings(kind="milvus", server_url=url, server_token=token, server_index=kind)
        # FAISS and numpy round differently where a value lies exactly between two halves.
        self.descriptors = descriptors_of(count).astype(np.float16).astype(np.float32)
        self.keys = np.sort(rng.choice(2**62, count, replace=False)).astype(np.int64)
        self.added = np.arange(count, dtype=np.int64)
        self.sent: list[int] = []
        self.manifests: dict[int, str] = {}  # of the commits that are still on disk

    def photos(self, members):
        return VersionPhotos(
            keys=self.keys[members],
            taken_ns=-self.added[members],
            added_ns=self.added[members],
            shapes=(members % 3).astype(np.uint8),
            types=(members % 4).astype(np.uint8),
            tags={"even": np.flatnonzero(members % 2 == 0), "three": np.flatnonzero(members % 3 == 0)},
            folders=["/"],
            folder_codes=np.zeros(len(members), dtype=np.int32),
        )

    def open(self, version, members, *, source=None, oldest=0):
        """The index of one version, and whether it was whole before; `sent` is what was read for it."""
        members = np.asarray(members, dtype=np.int64)
        self.sent = []

        def take(rows):
            self.sent += members[rows].tolist()
            return self.descriptors[members[rows]]

        origin = Origin(version, source or f"s{version}", self.checkpoint)
        self.manifests[origin.number[1]] = origin.source
        place = VersionSource(
            self.gallery, SIZE, lambda: self.photos(members), take, lambda: oldest, self.manifests.get
        )
        return open_milvus_index(origin, self.settings, place)

    def flat(self, members):
        """The same in FAISS."""
        return RecallIndex(build_index(self.descriptors[np.asarray(members)], "flat"), RecallSettings())


def assert_same(found, expected):
    """The same rows and scores; where scores differ by rounding alone, rows may swap. Exact ties may not."""
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    for query, place in np.argwhere(found[0] != expected[0]).tolist():
        (elsewhere,) = np.flatnonzero(expected[0][query] == found[0][query, place])
        assert 0 < abs(expected[1][query, elsewhere] - expected[1][query, place]) < 1e-6
