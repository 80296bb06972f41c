"""Keeps a version's search indices on disk, so that the next start need not make them. Never trusted, always checked.

`recall/VERSION-KIND.json` names the files of one index beside it with their SHA-256, and what it was made of. It is
written after the files, by one rename. FAISS reads nothing whose checksum is wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index_builder.index.cache_note import CachedKind, Note, Origin
from index_builder.store.checksums import file_sum, write_json
from index_builder.store.locks import cache_lock
from index_builder.store.places import GalleryPlace, on_disk
from model.whole_file import whole_file

FOLDER = "recall"
STORE_WAIT_S = 60.0
"""Seconds to wait while another process stores an index of the same gallery."""
_log = logging.getLogger(__name__)


def recall_folder(gallery: GalleryPlace, cache: Path | None) -> Path:
    """Where indices of a gallery lie: in its own folder, or on this machine's disk if it lies in a bucket.

    Args:
        gallery: its place.
        cache: folder for what is derived from galleries in buckets; None: `sketchseek` in the user's cache folder.
    """
    if (own := on_disk(gallery)) is not None:
        return own / FOLDER
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sketchseek"
    own = cache / hashlib.sha256(str(gallery).encode()).hexdigest()[:32]
    with contextlib.suppress(OSError):  # whoever stores there says so
        own.mkdir(parents=True, exist_ok=True)
    return own / FOLDER


def load_cached(folder: Path, origin: Origin, kind: CachedKind, read: Callable[[Note], Any]) -> Any:
    """What `read` makes of the note of a version, or None where it is missing, stale or damaged."""
    path = folder / f"{origin.version}-{kind}.json"
    try:
        note = Note.read(path)
        if note.origin != origin:
            raise ValueError("made of another gallery")
        found = read(note)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("the recall cache %s is stale or damaged and is built again (%s)", path.name, error)
        return None
    with contextlib.suppress(TimeoutError), cache_lock(folder.parent) as held:
        if held:
            _drop_unnamed(folder)
    return found


def earlier_notes(folder: Path, origin: Origin, kind: CachedKind) -> Iterator[Note]:
    """Of versions from which what was fitted may be taken over."""
    for path in sorted(folder.glob(f"*-{kind}.json")):
        try:
            note = Note.read(path)
        except (OSError, ValueError):
            continue
        if note.origin.akin(origin):
            yield note


def first_of(notes: Iterator[Note], read: Callable[[Note], Any]) -> Any:
    """What `read` makes of the first note whose file is sound and of use to it, or None."""
    for note in notes:
        try:
            found = read(note)
        except (OSError, ValueError):
            continue
        if found is not None:
            return found
    return None


def store(
    folder: Path, origin: Origin, kind: CachedKind, files: Mapping[str, Callable[[Path], None]], **more: Any
) -> Note:
    """Write an index and its note, and remove what they replace.

    Args:
        folder: of the cache.
        origin: what the index is made of.
        kind: of the index.
        files: suffix -> what writes that file.
        more: for the note.

    Raises:
        OSError: it cannot be written, or another process kept the lock for `STORE_WAIT_S`.
    """
    folder.mkdir(exist_ok=True)
    stem = f"{origin.version}-{kind}-{secrets.token_hex(4)}"
    note = folder / f"{origin.version}-{kind}.json"
    sums = {}
    with cache_lock(folder.parent, STORE_WAIT_S) as held:
        with contextlib.ExitStack() as all_or_none:
            for suffix, write in files.items():
                name = f"{stem}{suffix}"
                unfinished = all_or_none.enter_context(whole_file(folder / name))
                write(unfinished)
                sums[name] = file_sum(unfinished).sha256
        try:
            replaced = Note.read(note)
        except (OSError, ValueError):
            replaced = None
        write_json(note, {"origin": asdict(origin), "kind": kind, "files": sums, "more": more})
        _drop_stale(folder, origin, kind, replaced)
        if held:
            _drop_unnamed(folder)
    return Note(note, origin, kind, sums, more)


def warn_not_stored(error: Exception) -> None:
    """Say that the cache was not written; searches go on."""
    _log.warning("the recall cache could not be written, the next start builds it again: %s", error)


def _drop_stale(folder: Path, origin: Origin, kind: CachedKind, replaced: Note | None) -> None:
    """Remove notes that are no longer of use, with their files. Readers keep open what they read.

    Both kinds of this version stay, because a service and a command may search it in two ways. A kind of an earlier
    version in the same generation stays until that kind is written again, which reuses what was fitted. A later
    version stays: this one was merely begun earlier and finished late.
    """
    kept = set[str]()
    dropped = set(replaced.files if replaced else ())
    for path in folder.glob("*.json"):
        try:
            note = Note.read(path)
        except (OSError, ValueError):
            dropped.add(path.name)
            continue
        akin = note.kind != kind and note.origin.akin(origin)
        of_use = note.origin == origin or akin or note.origin.number > origin.number
        (kept if of_use else dropped).update({path.name, *note.files})
    for name in dropped - kept:
        _unlink(folder / name)


def _drop_unnamed(folder: Path) -> None:
    """Remove files that no note names. A note that cannot be read here keeps the files that begin with its name."""
    named = set[str]()
    for path in folder.glob("*.json"):
        named.add(path.name)
        try:
            named.update(Note.read(path).files)
        except (OSError, ValueError):
            named.update(other.name for other in folder.glob(f"{path.stem}-*"))
    for path in folder.iterdir():
        if path.name not in named and path.is_file():
            _unlink(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process removed it, or this one may not
        path.unlink()
