"""Keeps a version's hash codes on disk, as `recall_cache` keeps search indices: checked, and never trusted.

`recall/VERSION-hash.json` names two files: the codes with the matrix that made them, which are held in memory, and the
exact descriptors in half precision, which stay on disk and are read by row.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from index_builder.checksums import file_sum, read_json, write_json
from index_builder.hash_codes import Codes, Halves, Hasher, HashIndex, chosen_hasher, encode_all, learnt_hasher
from index_builder.recall import RecallIndex, RecallSettings
from index_builder.recall_cache import FOLDER, cached_index, drop_others
from index_builder.searching import Descriptors

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What the two files hold.

    Attributes:
        hasher: that made the codes.
        codes: [n, bits / 8].
        exact: [n, E].
    """

    hasher: Hasher
    codes: Codes
    exact: Halves


def open_recall(
    gallery: Path,
    version: str,
    source: str,
    *,
    settings: RecallSettings,
    photos: int,
    read: Callable[[], Descriptors],
    learnt: npt.NDArray[np.float32] | None = None,
) -> tuple[RecallIndex | HashIndex, bool]:
    """What searches one version, as the settings ask for.

    Args:
        gallery, version, source, photos, read: as of `recall_cache.cached_index`.
        settings: how to search.
        learnt: the network's projection to hash codes [bits, E], or None.

    Returns:
        the index, and whether it came from the cache.

    Raises:
        ConfigurationError: learnt codes are asked for and there are none.
    """
    kind = settings.kind_for(photos)
    if kind != "hash":
        index, cached = cached_index(gallery, version, source, kind=kind, photos=photos, read=read)
        return RecallIndex(index, settings), cached
    note = gallery / FOLDER / f"{version}-hash.json"
    wanted = f"itq {settings.hash_bits}"
    if settings.hash_source == "learnt" and learnt is None:
        wanted = "learnt"  # no cache holds that, so that what is missing is said
    elif learnt is not None and settings.hash_source != "itq":
        wanted = f"learnt {learnt_hasher(learnt).digest}"
    stored = _load(note, wanted, source)
    if stored is not None and len(stored.codes) == len(stored.exact) == photos:
        return HashIndex(stored.hasher, stored.codes, stored.exact, settings), True
    made = _make(note.parent, wanted, settings, read(), learnt)
    try:
        made = _store(note, wanted, source, made)
    except OSError as error:
        _log.warning("the recall cache could not be written, the next start builds it again: %s", error)
    return HashIndex(made.hasher, made.codes, made.exact, settings), False


def _make(
    folder: Path,
    wanted: str,
    settings: RecallSettings,
    descriptors: Descriptors,
    learnt: npt.NDArray[np.float32] | None,
) -> Stored:
    """Codes of all descriptors. What was fitted to an earlier version fits this one: directions hardly move when some
    photos come and go."""
    earlier = None
    if wanted.startswith("itq") and settings.hash_source != "learnt":
        earlier = next((found for path in sorted(folder.glob("*-hash.json")) if (found := _load(path, wanted))), None)
    if earlier is not None and earlier.hasher.matrix.shape[1] == descriptors.shape[1]:
        hasher = earlier.hasher
    else:
        hasher = chosen_hasher(settings, learnt, descriptors)
    return Stored(hasher, encode_all(hasher, descriptors), descriptors.astype(np.float16))


def _load(note_path: Path, wanted: str, source: str | None = None) -> Stored | None:
    """Sound codes of a version, or None; `source` None takes them whatever manifest they were built from."""
    folder = note_path.parent
    try:
        note = read_json(note_path)
        if note["hasher"] != wanted or source not in (None, note["source"]):
            return None
        paths = [folder / Path(str(name)).name for name in note["files"]]
        if [file_sum(path).sha256 for path in paths] != note["sha256"]:
            raise ValueError("stale or damaged")
        values = load_file(paths[0])
        exact: Halves = np.load(paths[1], mmap_mode="r", allow_pickle=False)
        hasher = Hasher(values["matrix"], values["centre"], "learnt" if wanted.startswith("learnt") else "itq")
        return Stored(hasher, values["codes"], exact)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        _log.warning("the recall cache %s is stale or damaged and is built again (%s)", note_path.name, error)
        return None


def _store(note_path: Path, wanted: str, source: str, made: Stored) -> Stored:
    """Write both files and their note; the same with the exact descriptors mapped from disk."""
    folder = note_path.parent
    folder.mkdir(exist_ok=True)
    stem = f"{note_path.stem}-{secrets.token_hex(4)}"
    names = [f"{stem}.codes.safetensors", f"{stem}.exact.npy"]
    temporary = [folder / f"{name}.tmp" for name in names]
    try:
        save_file({"codes": made.codes, "matrix": made.hasher.matrix, "centre": made.hasher.centre}, temporary[0])
        with temporary[1].open("wb") as file:
            np.save(file, made.exact, allow_pickle=False)
        sums = [file_sum(path, sync=True).sha256 for path in temporary]
        for path, name in zip(temporary, names, strict=True):
            path.replace(folder / name)
    except BaseException:
        for path in temporary:
            path.unlink(missing_ok=True)
        raise
    write_json(note_path, {"files": names, "sha256": sums, "source": source, "hasher": wanted})
    drop_others(folder, {*names, note_path.name})
    exact: Halves = np.load(folder / names[1], mmap_mode="r", allow_pickle=False)
    return Stored(made.hasher, made.codes, exact)
