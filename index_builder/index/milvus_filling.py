"""Makes a collection in Milvus hold one version of a gallery, by putting and marking what differs from what is there.

Any number of processes may do so at once, for one version or for several, and any of them may be killed:

* A row is the same whoever writes it. Its id follows from the photo, and putting it twice leaves one.
* A note says that a version is being filled in, and later that it is whole. Without the latter, the next one goes on.
* Only the latest version marks photos as removed. It announces itself before it puts anything there. So whoever sees
  one of its photos also sees the announcement, and marks nothing.
* A search drops what its version does not have. So what others put there meanwhile costs a search time, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from index_builder.gallery_errors import RecallCollectionError, RecallServerError
from index_builder.index.candidate_index import Descriptors, Rows
from index_builder.index.milvus_collection import Collection
from index_builder.index.milvus_filters import ALIVE, version_expression
from index_builder.index.milvus_notes import Note
from index_builder.index.version_photos import VersionPhotos

_BATCH_BYTES = 4_000_000
_FLUSH_FROM = 10_000  # rows; fewer are searched as they are, until Milvus writes them by itself
_KEEP_S = 24 * 3600.0  # for which a collection stays that another one replaced, as replaced versions do on disk
_ROUNDS = 3


def fill(
    collection: Collection,
    photos: VersionPhotos,
    note: Note,
    take: Callable[[Rows], Descriptors],
    oldest: Callable[[], int],
) -> bool:
    """Make a collection hold a version; only what it lacks is read and sent.

    Args:
        collection: of the version's generation.
        photos: of the version.
        note: of the version.
        take: gives the descriptors [k, E] of rows [k].
        oldest: gives the oldest commit that still exists.

    Returns:
        whether it was whole already.

    Raises:
        RecallCollectionError: the collection belongs to another gallery.
        RecallServerError: Milvus cannot be reached, or cannot do it. What was put there stays; the next call goes on.
    """
    notes = collection.notes()
    _check_owner(collection, notes, note)
    keys = photos.sorted_keys
    if (known := notes.get(note.commit)) is not None and known.whole:
        collection.server.filled[collection.name] = (note.commit, keys)
        return True
    collection.write(note)
    for attempt in range(_ROUNDS):
        _fill_once(collection, photos, note.commit, take, remembered=attempt == 0)
        if collection.count(version_expression(photos, note.commit)) >= len(photos):
            break
    else:
        raise RecallServerError(
            f"Milvus at {collection.server.shown} does not keep all the photos; its log may say why"
        )
    collection.write(replace(note, whole=True))
    collection.server.filled[collection.name] = (note.commit, keys)
    collection.take_alias()
    collection.forget(oldest())
    collection.drop_replaced(time.time() - _KEEP_S)
    return False


def _fill_once(
    collection: Collection, photos: VersionPhotos, commit: int, take: Callable[[Rows], Descriptors], *, remembered: bool
) -> None:
    known = collection.server.filled.get(collection.name) if remembered else None
    if known is not None and known[0] < commit:
        there, alive = known[1], known[1]
    else:
        there, removed = collection.keys()
        there, alive = there[removed > commit], there[removed == ALIVE]
    missing = photos.rows_of(np.setdiff1d(photos.keys, there))
    _put(collection, photos, missing, take)
    surplus = np.setdiff1d(alive, photos.keys)
    if len(surplus) and max(collection.notes()) <= commit:
        collection.remove(surplus, commit)
    if len(missing) >= _FLUSH_FROM:
        collection.flush()


def _put(collection: Collection, photos: VersionPhotos, rows: Rows, take: Callable[[Rows], Descriptors]) -> None:
    at_once = max(1, _BATCH_BYTES // (4 * collection.owner.size + 200))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        descriptors = halved(take(some))
        labels = photos.labels(some)
        collection.put(
            [
                {
                    "id": int(photos.keys[row]),
                    "labels": own,
                    "taken": int(photos.taken_ns[row]),
                    "shape": int(photos.shapes[row]),
                    "format": int(photos.types[row]),
                    "added": int(photos.added_ns[row]),
                    "removed": ALIVE,
                    "descriptor": descriptor,
                }
                for row, own, descriptor in zip(some, labels, descriptors, strict=True)
            ]
        )


def halved(descriptors: Descriptors) -> Descriptors:
    """Descriptors as FAISS keeps them, in half precision: both rank alike, and have the same exact ties."""
    return descriptors.astype(np.float16).astype(np.float32)


def _check_owner(collection: Collection, notes: dict[int, Note], note: Note) -> None:
    """Refuse a collection of another gallery, or of a copy of this one that went its own way.

    Raises:
        RecallCollectionError: it is one.
    """
    if any(other.owner != note.owner for other in notes.values()):
        whose = "another gallery, another checkpoint, or another release of Sketchseek"
    elif (known := notes.get(note.commit)) is not None and not known.same_as(note):
        whose = "another copy of this gallery, which has changed since it was copied"
    else:
        return
    raise RecallCollectionError(
        f"the collection {collection.name} of Milvus at {collection.server.shown} holds the photos of {whose}; "
        "drop it there if nobody needs it, or let SKETCHSEEK_RECALL_URL name another server"
    )
