"""The photos of one version as a vector store outside this process needs them: a key each, and what filters look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index_builder.index.candidate_index import Descriptors, Rows

_LABEL_BYTES = 8


@dataclass(frozen=True)
class VersionPhotos:
    """n photos in the order of rows.

    Attributes:
        keys: [n] int64, not negative: stands for all that is known of a photo. A photo that moved gets another one.
        taken_ns, added_ns: [n] int64, in nanoseconds since 1970.
        shapes: [n] uint8, the place in `ORIENTATIONS`.
        types: [n] uint8, the place in `FILE_TYPES`.
        tags: every tag and the rows of its photos.
        folders: every folder of photos, with a slash at its end.
        folder_codes: [n] int32, the place in `folders`.
    """

    keys: Rows
    taken_ns: Rows
    added_ns: Rows
    shapes: npt.NDArray[np.uint8]
    types: npt.NDArray[np.uint8]
    tags: Mapping[str, Rows]
    folders: Sequence[str]
    folder_codes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def latest_ns(self) -> int:
        """When the latest of the photos was added, in nanoseconds since 1970."""
        return int(self.added_ns.max()) if len(self) else 0

    @cached_property
    def _by_key(self) -> tuple[Rows, Rows]:
        order = np.argsort(self.keys, kind="stable")
        return self.keys[order], order

    @property
    def sorted_keys(self) -> Rows:
        """[n] int64, rising."""
        return self._by_key[0]

    def rows_of(self, keys: Rows) -> Rows:
        """Keys of any shape -> their rows, of the same shape; -1 for what this version does not have."""
        known, order = self._by_key
        if not len(known):
            return np.full(keys.shape, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[places] == keys, order[places], -1)

    def labels(self, rows: Rows) -> list[list[int]]:
        """For each row the labels of its tags, its folder, and the folders around that."""
        found: list[list[int]] = [[*self._folder_labels[self.folder_codes[row]]] for row in rows]
        place = np.full(len(self), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        for tag, tagged in self.tags.items():
            label = tag_label(tag)
            for number in place[tagged][place[tagged] >= 0].tolist():
                found[number].append(label)
        return found

    @cached_property
    def _folder_labels(self) -> list[list[int]]:
        labels = []
        for folder in self.folders:
            parts = folder.rstrip("/").split("/")
            labels.append([folder_label("/".join(parts[:deep])) for deep in range(1, len(parts) + 1)])
        return labels


@dataclass(frozen=True)
class VersionSource:
    """Where a version's photos come from, for an index outside this process.

    Attributes:
        gallery: the gallery's identity.
        size: of a descriptor.
        photos: gives the photos; called only if they are needed.
        take: gives the descriptors [k, E] of rows [k], as the network made them.
        oldest: gives the oldest commit of the generation that still exists.
        manifest: gives the checksum of the manifest of a commit of the generation; None if that is gone.
    """

    gallery: str
    size: int
    photos: Callable[[], VersionPhotos]
    take: Callable[[Rows], Descriptors]
    oldest: Callable[[], int]
    manifest: Callable[[int], str | None]


def tag_label(tag: str) -> int:
    """What stands for a tag: a number, so that no name has to be quoted in an expression, or leaves this machine."""
    return _label("tag", tag)


def folder_label(folder: str) -> int:
    """What stands for a folder, which photos in all folders below it have as well."""
    return _label("folder", folder)


def _label(kind: str, name: str) -> int:
    digest = hashlib.blake2b(f"{kind}\0{name}".encode("utf-8", "surrogatepass"), digest_size=_LABEL_BYTES).digest()
    return int.from_bytes(digest, "big") >> 1
