"""Makes a collection in Milvus hold one version of a gallery, by putting and marking what differs from what is there.

Any number of processes may do so at once, for one version or for several, and any of them may be killed:

* A row is the same whoever writes it. Its id follows from the photo, and putting it twice leaves one.
* A note says that a version is being filled in, and later that it is whole. Without the latter, the next one goes on.
* Only the latest version marks photos as removed. It announces itself before it puts anything there. So whoever sees
  one of its photos also sees the announcement, and marks nothing. Who sees it too late takes the marks back.
* What a process remembers of a collection counts only while no other version was announced there since.
* A search drops what its version does not have. So what others put there meanwhile costs a search time, and no more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from index_builder.gallery_errors import RecallCollectionError, RecallServerError
from index_builder.index.candidate_index import Descriptors, Rows
from index_builder.index.milvus_collection import NAMED_AT_ONCE, Collection
from index_builder.index.milvus_filters import ALIVE, version_expression
from index_builder.index.milvus_notes import Note, words_of
from index_builder.index.version_photos import VersionPhotos, VersionSource

_BATCH_BYTES = 4_000_000
_FLUSH_FROM = 10_000  # rows; fewer are searched as they are, until Milvus writes them by itself
_KEEP_S = 24 * 3600.0  # for which a collection stays that another one replaced, as replaced versions do on disk
_ROUNDS = 3


def fill(collection: Collection, photos: VersionPhotos, note: Note, source: VersionSource) -> bool:
    """Make a collection hold a version; only what it lacks is read and sent.

    Args:
        collection: of the version's generation.
        photos: of the version.
        note: of the version.
        source: of the version.

    Returns:
        whether it was whole already.

    Raises:
        RecallCollectionError: the collection belongs to another gallery.
        RecallServerError: Milvus cannot be reached, or cannot do it. What was put there stays; the next call goes on.
    """
    notes = collection.notes()
    _check_owner(collection, notes, note, source)
    filled = collection.server.filled
    if (known := notes.get(note.commit)) is not None and known.whole:
        filled[collection.name] = (note.commit, photos.sorted_keys)
        return True
    collection.write(note.now())
    for attempt in range(_ROUNDS):
        if _fill_once(collection, photos, note.commit, source.take, remembered=attempt == 0):
            break
    else:
        raise RecallServerError(
            f"Milvus at {collection.server.shown} does not keep all the photos; its log may say why"
        )
    collection.write(note.now(whole=True))
    filled[collection.name] = (note.commit, photos.sorted_keys)
    collection.take_alias()
    collection.forget(source.oldest())
    collection.drop_replaced(_KEEP_S)
    return False


def _fill_once(
    collection: Collection, photos: VersionPhotos, commit: int, take: Callable[[Rows], Descriptors], *, remembered: bool
) -> bool:
    """Put there what is missing, and say whether everything is there."""
    known = _remembered(collection, commit) if remembered else None
    if known is not None:
        there, alive = known, known
    else:
        there, removed = collection.keys()
        there, alive = there[removed > commit], there[removed == ALIVE]
    missing = np.setdiff1d(photos.keys, there)
    _put(collection, photos, photos.rows_of(missing), take)
    collection.remove(np.setdiff1d(alive, photos.keys), commit)
    if len(missing) >= _FLUSH_FROM:
        collection.flush()
    # How many there are tells little by itself: what other versions left may stand in for what is missing.
    if known is not None and collection.count(version_expression(photos, commit)) != len(photos):
        return False
    return _are_there(collection, missing, commit)


def _remembered(collection: Collection, commit: int) -> Rows | None:
    """The keys that this process has last seen whole, if nobody can have marked any of them as removed since.

    Whoever does that announces a version first, and finds that it is the latest. So the latest one but this has to be
    the one that this process has seen. This version is announced already: who announces another one now sees it.
    """
    known = collection.server.filled.get(collection.name)
    latest = max((other for other in collection.notes() if other != commit), default=None)
    return known[1] if known is not None and known[0] == latest and latest < commit else None


def _are_there(collection: Collection, keys: Rows, commit: int) -> bool:
    """Whether a collection has photos, and a version's filter lets them through."""
    if not len(keys):
        return True
    there, removed = collection.keys_among(keys) if len(keys) <= NAMED_AT_ONCE else collection.keys()
    return not len(np.setdiff1d(keys, there[removed > commit]))


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


def _check_owner(collection: Collection, notes: dict[int, Note], note: Note, source: VersionSource) -> None:
    """Refuse a collection of another gallery, or of a copy of this one that went its own way.

    Raises:
        RecallCollectionError: it is one.
    """
    if any(other.owner != note.owner for other in notes.values()):
        whose = "another gallery, another checkpoint, or another release of Sketchseek"
    elif not _is_of_our_past(notes, note, source):
        whose = "another copy of this gallery, which has changed since it was copied, or was restored from a backup"
    else:
        return
    raise RecallCollectionError(
        f"the collection {collection.name} of Milvus at {collection.server.shown} holds the photos of {whose}; "
        "drop it there if nobody needs it, or let SKETCHSEEK_RECALL_URL name another server"
    )


def _is_of_our_past(notes: dict[int, Note], note: Note, source: VersionSource) -> bool:
    """Whether this version, and the latest one noted that this gallery still has, are what the notes say.

    One is enough: a copy that went its own way later finds that version to be another one, and is refused.
    """
    known = notes.get(note.commit)
    if known is not None and (known.whole or not known.same_as(note)):
        return known.same_as(note)
    for commit in sorted(notes.keys() - {note.commit}, reverse=True):
        if (manifest := source.manifest(commit)) is not None:
            return words_of(manifest) == notes[commit].source
    return True
