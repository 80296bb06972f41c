"""Keeps a version's search index on disk, so that the next start need not build it. Never trusted, always checked.

`recall/VERSION-KIND.json` names the index file beside it, its SHA-256 and the manifest that it was built from; it is
replaced by one rename after the index is whole. FAISS reads nothing whose checksum is wrong.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from index_builder.checksums import file_sum, read_json, write_json
from index_builder.recall import Kind, build_index, load_faiss
from index_builder.searching import Descriptors

FOLDER = "recall"
_log = logging.getLogger(__name__)


def cached_index(
    gallery: Path, version: str, source: str, *, kind: Kind, photos: int, read: Callable[[], Descriptors]
) -> tuple[Any, bool]:
    """The search index of one version, from the cache or built and cached.

    Args:
        gallery: folder of the gallery.
        version: of the gallery.
        source: checksum of the manifest of this version; another one makes the cache stale.
        kind: of the index.
        photos: how many the version has.
        read: gives the descriptors [photos, E] in the order of rows; called only if they are needed.

    Returns:
        the index, and whether it came from the cache.
    """
    folder = gallery / FOLDER
    index = _load(folder, version, source, kind, photos)
    if index is not None:
        return index, True
    index = build_index(read(), kind, _earlier(folder, kind))
    try:
        _store(folder, version, source, kind, index)
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError when the disk is full
        _log.warning("the recall cache could not be written, the next start builds it again: %s", error)
    return index, False


def _load(folder: Path, version: str, source: str, kind: Kind, photos: int) -> Any:
    try:
        note = read_json(folder / f"{version}-{kind}.json")
        path = folder / Path(str(note["file"])).name
        if note["source"] != source or file_sum(path).sha256 != note["sha256"]:
            raise ValueError("stale or damaged")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("the recall cache of version %s is stale or damaged and is built again (%s)", version, error)
        return None
    index = load_faiss().read_index(str(path))
    return index if index.ntotal == photos else None


def _earlier(folder: Path, kind: Kind) -> Any:
    """A sound IVF index of an earlier version, or None."""
    if kind != "ivf":
        return None
    for path in sorted(folder.glob(f"*-{kind}.json")):
        try:
            note = read_json(path)
            index_path = folder / Path(str(note["file"])).name
            if file_sum(index_path).sha256 == note["sha256"]:
                return load_faiss().read_index(str(index_path))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _store(folder: Path, version: str, source: str, kind: Kind, index: Any) -> None:
    folder.mkdir(exist_ok=True)
    name = f"{version}-{kind}-{secrets.token_hex(4)}.faiss"
    temporary = folder / f"{name}.tmp"
    try:
        load_faiss().write_index(index, str(temporary))
        checksum = file_sum(temporary, sync=True).sha256
        temporary.replace(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    note = {"file": name, "sha256": checksum, "source": source}
    write_json(folder / f"{version}-{kind}.json", note)
    drop_others(folder, {name, f"{version}-{kind}.json"})


def drop_others(folder: Path, keep: set[str]) -> None:
    """Remove indices of other versions and leftovers of killed writers; readers hold theirs in memory."""
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink(missing_ok=True)
