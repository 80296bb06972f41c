"""What a collection in Milvus says of itself: whose photos it holds, and which versions of them are whole.

A note is a row that no search finds: its id is negative, and its labels are numbers that say which version it is about.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

from index_builder.index.milvus_filters import ALIVE

_FORMAT = 1
_WORDS = 4
REPLACED = 2**62
"""In place of a commit, in the note that says when a collection was replaced, or seen in use after that."""


@dataclass(frozen=True)
class Owner:
    """Whose photos a collection holds.

    Attributes:
        gallery: the gallery's identity.
        checkpoint: SHA-256 of the checkpoint that encoded them.
        generation: of the gallery.
        size: of a descriptor.
    """

    gallery: str
    checkpoint: str
    generation: int
    size: int

    def words(self) -> tuple[int, ...]:
        """As numbers, which a note keeps."""
        return (_FORMAT, self.generation, self.size, *words_of(self.gallery), *words_of(self.checkpoint))


@dataclass(frozen=True)
class Note:
    """What is known of one version in a collection.

    Attributes:
        commit: of the version.
        whole: all its photos are there.
        photos: how many it has.
        source: checksum of its manifest.
        written: when, in seconds since 1970.
        owner: the numbers of the collection's owner.
    """

    commit: int
    whole: bool
    photos: int
    source: tuple[int, ...]
    written: float
    owner: tuple[int, ...]

    @staticmethod
    def of(owner: Owner, commit: int, photos: int, source: str) -> Note:
        """The note of a version that is being filled in."""
        return Note(
            commit, whole=False, photos=photos, source=words_of(source), written=time.time(), owner=owner.words()
        )

    def same_as(self, other: Note) -> bool:
        """Whether both are about the same photos."""
        return (self.commit, self.photos, self.source, self.owner) == (
            other.commit,
            other.photos,
            other.source,
            other.owner,
        )

    def now(self, *, commit: int | None = None, whole: bool = False) -> Note:
        """The same note as it is written now, or what it says of another commit."""
        return replace(self, commit=self.commit if commit is None else commit, whole=whole, written=time.time())

    def row(self) -> dict[str, Any]:
        """As stored."""
        labels = [int(self.whole), self.photos, round(self.written), *self.source, *self.owner]
        values = {"id": -1 - self.commit, "labels": labels, "taken": 0, "shape": 0, "format": 0}
        return {**values, "added": ALIVE, "removed": 0, "descriptor": [1.0] + [0.0] * (self.owner[2] - 1)}

    @staticmethod
    def read(row: dict[str, Any]) -> Note:
        """What `row` stored."""
        labels = [int(value) for value in row["labels"]]
        source = tuple(labels[3 : 3 + _WORDS])
        return Note(-1 - row["id"], labels[0] == 1, labels[1], source, labels[2], tuple(labels[3 + _WORDS :]))


def words_of(text: str) -> tuple[int, ...]:
    """A text as four numbers of 63 bits, which stand for it."""
    digest = hashlib.sha256(text.encode()).digest()
    return tuple(int.from_bytes(digest[start : start + 8], "big") >> 1 for start in range(0, len(digest), 8))
