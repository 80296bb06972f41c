"""Keeps a version's search indices on disk, so that the next start need not build them. Never trusted, always checked.

`recall/VERSION-KIND.json` names the files of one index beside it with their SHA-256, and what it was made of; it is
replaced by one rename after the files are whole. FAISS reads nothing whose checksum is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index_builder.index.faiss_search import Descriptors
from index_builder.index.recall import Kind, build_index, load_faiss
from index_builder.store.checksums import file_sum, read_json, write_json
from index_builder.store.locks import storing
from model.whole_file import whole_file

FOLDER = "recall"
_FITTED: frozenset[Kind] = frozenset({"ivf", "hash"})  # what they learnt of one version serves the next
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Which descriptors an index is made of.

    Attributes:
        version: of the gallery, "GENERATION.COMMIT".
        source: checksum of the manifest of this version; another one makes a cache stale.
        checkpoint: SHA-256 of the checkpoint that encoded them; "" for weights that were never saved.
    """

    version: str
    source: str
    checkpoint: str = ""

    @property
    def number(self) -> tuple[int, ...]:
        """The version, so that a later one is greater; () where it is none."""
        parts = str(self.version).split(".")
        return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()

    def akin(self, other: Origin) -> bool:
        """Whether both are versions of one generation, encoded by one checkpoint that can be told from others."""
        generations = {one.version.partition(".")[0] for one in (self, other)}
        return len(generations) == 1 and self.checkpoint == other.checkpoint != ""


class OtherFormatError(ValueError):
    """A note is whole, but another release of Sketchseek wrote it."""


@dataclass(frozen=True)
class Note:
    """What `VERSION-KIND.json` says.

    Attributes:
        path: of the note.
        origin: what the index is made of.
        kind: of the index.
        files: name -> SHA-256.
        more: what its kind has to say.
    """

    path: Path
    origin: Origin
    kind: Kind
    files: Mapping[str, str]
    more: Mapping[str, Any]

    @staticmethod
    def read(path: Path) -> Note:
        """The note at `path`.

        Raises:
            OSError: it cannot be read.
            OtherFormatError: it is not of this release.
            ValueError: it is not what was written.
        """
        values = read_json(path)
        try:
            files = {Path(str(name)).name: str(checksum) for name, checksum in values["files"].items()}
            return Note(path, Origin(**values["origin"]), values["kind"], files, dict(values["more"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise OtherFormatError(f"{path.name} is of another format") from error

    def file(self, suffix: str) -> Path:
        """The file whose name ends so.

        Raises:
            OSError: it is gone.
            ValueError: it is not what was written.
        """
        name = next((name for name in self.files if name.endswith(suffix)), None)
        if name is None or file_sum(self.path.with_name(name)).sha256 != self.files[name]:
            raise ValueError(f"the file {suffix} is not what was written")
        return self.path.with_name(name)


def cached_index(
    gallery: Path, origin: Origin, *, kind: Kind, photos: int, read: Callable[[], Descriptors]
) -> tuple[Any, bool]:
    """The search index of one version, from the cache or built and cached.

    Args:
        gallery: folder of the gallery.
        origin: which version.
        kind: of the index.
        photos: how many the version has.
        read: gives the descriptors [photos, E] in the order of rows; called only if they are needed.

    Returns:
        the index, and whether it came from the cache.
    """
    folder = gallery / FOLDER
    index = load_cached(folder, origin, kind, _faiss_index)
    if index is not None and index.ntotal == photos:
        return index, True
    earlier = first_of(earlier_notes(folder, origin, kind), _faiss_index) if kind == "ivf" else None
    index = build_index(read(), kind, earlier)
    try:
        store(folder, origin, kind, {".faiss": lambda path: load_faiss().write_index(index, str(path))})
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError when the disk is full
        warn_of_no_room(error)
    return index, False


def _faiss_index(note: Note) -> Any:
    return load_faiss().read_index(str(note.file(".faiss")))


def load_cached(folder: Path, origin: Origin, kind: Kind, read: Callable[[Note], Any]) -> Any:
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
    with storing(folder.parent) as alone:
        if alone():
            _drop_unnamed(folder)
    return found


def earlier_notes(folder: Path, origin: Origin, kind: Kind) -> Iterator[Note]:
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


def store(folder: Path, origin: Origin, kind: Kind, files: Mapping[str, Callable[[Path], None]], **more: Any) -> Note:
    """Write an index and its note, and remove what they replace.

    Args:
        folder: of the cache.
        origin: what the index is made of.
        kind: of the index.
        files: suffix -> what writes that file.
        more: for the note.
    """
    folder.mkdir(exist_ok=True)
    stem = f"{origin.version}-{kind}-{secrets.token_hex(4)}"
    note = folder / f"{origin.version}-{kind}.json"
    sums = {}
    with storing(folder.parent) as alone:
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
        if alone():
            _drop_unnamed(folder)
    return Note(note, origin, kind, sums, more)


def warn_of_no_room(error: Exception) -> None:
    """Say that the cache was not written; searches go on."""
    _log.warning("the recall cache could not be written, the next start builds it again: %s", error)


def _drop_stale(folder: Path, origin: Origin, kind: Kind, replaced: Note | None) -> None:
    """Remove notes that are of no use any more, and their files; readers hold theirs open.

    Every kind of this version stays: a service and a command may search it in two ways. Of an earlier version of the
    same generation what was fitted stays until its kind is written again, because it is taken over then. A later
    version's stays: whoever made this one began before it.
    """
    kept = set[str]()
    dropped = set(replaced.files if replaced else ())
    for path in folder.glob("*.json"):
        try:
            note = Note.read(path)
        except (OSError, ValueError):
            dropped.add(path.name)
            continue
        akin = note.kind != kind and note.kind in _FITTED and note.origin.akin(origin)
        of_use = note.origin == origin or akin or note.origin.number > origin.number
        (kept if of_use else dropped).update({path.name, *note.files})
    for name in dropped - kept:
        _unlink(folder / name)


def _drop_unnamed(folder: Path) -> None:
    """Remove files that no note names; of a note that cannot be read here, those that begin as it does are named."""
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
    with contextlib.suppress(OSError):  # somebody else tidies as well, or may not be disturbed
        path.unlink()
