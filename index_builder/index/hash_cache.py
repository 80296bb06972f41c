"""Keeps a version's hash codes on disk, and reuses the matrix that was fitted to an earlier version.

Two files: the codes with the matrix that made them, which are held in memory, and the exact descriptors in half
precision, which stay on disk and are read by row.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from index_builder.index.cache_note import Note, Origin
from index_builder.index.candidate_index import Descriptors
from index_builder.index.hash_codes import Codes, Halves, Hasher, HashIndex, chosen_hasher, encode_all, learnt_hasher
from index_builder.index.recall_cache import earlier_notes, first_of, load_cached, store, warn_not_stored
from index_builder.index.settings import RecallSettings

_CODES, _EXACT = ".codes.safetensors", ".exact.npy"
# A few photos more or less hardly change the directions that codes are fitted to; twice or half as many may be another
# collection. 10 006 photos were added category by category. Among the nearest 400 codes of 64 bits, a matrix fitted to
# half of them found .88 of the exact hundred, to an eighth .85, to all .91 (with 256 bits .98 each). Fitting reads a
# sample of bounded size and takes up to half a minute. A growing gallery pays for it once per doubling.
_OUTGROWN = 2


@dataclass(frozen=True)
class Fit:
    """What a matrix was fitted on.

    Attributes:
        photos: how many the gallery had.
        version: of the gallery.
        checkpoint: SHA-256 of the checkpoint that encoded them.
    """

    photos: int
    version: str
    checkpoint: str

    def suits(self, photos: int) -> bool:
        """Whether a gallery of so many photos, encoded by the same checkpoint, may reuse the matrix."""
        return self.photos < _OUTGROWN * photos and photos < _OUTGROWN * self.photos


@dataclass(frozen=True)
class Stored:
    """What the two files hold.

    Attributes:
        hasher: that made the codes.
        codes: [n, bits / 8].
        exact: [n, E].
        fit: what the hasher was fitted on; None where the network learnt it.
    """

    hasher: Hasher
    codes: Codes
    exact: Halves
    fit: Fit | None


def open_hash_index(
    folder: Path,
    origin: Origin,
    *,
    settings: RecallSettings,
    photos: int,
    read: Callable[[], Descriptors],
    learnt: npt.NDArray[np.float32] | None = None,
) -> tuple[HashIndex, bool]:
    """An index of hash codes, as the settings ask for.

    Args:
        folder: of the cache.
        origin, settings, photos, read, learnt: as of `opening.open_recall`.

    Returns:
        the index, and whether it came from the cache.

    Raises:
        ConfigurationError: learnt codes are asked for and there are none.
    """
    wanted = f"itq {settings.hash_bits}"
    if settings.hash_source == "learnt" and learnt is None:
        wanted = "learnt"  # no cache holds that, so the error below says what is missing
    elif learnt is not None and settings.hash_source != "itq":
        wanted = f"learnt {learnt_hasher(learnt).digest}"
    stored = load_cached(folder, origin, "hash", lambda note: _read(note, wanted))
    if stored is not None and len(stored.codes) == len(stored.exact) == photos:
        return HashIndex(stored.hasher, stored.codes, stored.exact, settings), True
    descriptors = read()
    taken = _taken_over(folder, origin, wanted, descriptors.shape)
    hasher = taken[0] if taken else chosen_hasher(settings, learnt, descriptors)
    fitted = None if hasher.origin == "learnt" else Fit(photos, origin.version, origin.checkpoint)
    fit = taken[1] if taken else fitted
    made = Stored(hasher, encode_all(hasher, descriptors), descriptors.astype(np.float16), fit)
    try:
        made = _store(folder, origin, wanted, made)
    except OSError as error:
        warn_not_stored(error)
    return HashIndex(made.hasher, made.codes, made.exact, settings), False


def _taken_over(folder: Path, origin: Origin, wanted: str, shape: tuple[int, ...]) -> tuple[Hasher, Fit] | None:
    """The hasher fitted to an earlier version, if it suits descriptors of this shape [n, E]."""

    def suited(note: Note) -> tuple[Hasher, Fit] | None:
        fit = _fit_of(note)
        if note.more.get("hasher") != wanted or fit is None:
            return None
        if fit.checkpoint != origin.checkpoint or not fit.suits(shape[0]):
            return None
        hasher, _ = _read_codes(note)
        return (hasher, fit) if hasher.matrix.shape[1] == shape[1] else None

    found: tuple[Hasher, Fit] | None = first_of(earlier_notes(folder, origin, "hash"), suited)
    return found


def _read(note: Note, wanted: str) -> Stored | None:
    """Codes of a version; None where they are of another kind.

    Raises:
        OSError, ValueError: a file is gone or not what was written.
    """
    if note.more.get("hasher") != wanted:
        return None
    hasher, codes = _read_codes(note)
    return Stored(hasher, codes, _mapped(note.file(_EXACT)), _fit_of(note))


def _fit_of(note: Note) -> Fit | None:
    """What the codes were fitted on, or None where they were learnt.

    Raises:
        ValueError: the note is of another version's format.
    """
    values = note.more.get("fit")
    try:
        return None if values is None else Fit(**values)
    except TypeError as error:
        raise ValueError("it does not say what it was fitted on") from error


def _read_codes(note: Note) -> tuple[Hasher, Codes]:
    try:
        values = load_file(note.file(_CODES))
        origin: Any = "learnt" if note.more.get("fit") is None else "itq"
        return Hasher(values["matrix"], values["centre"], origin), values["codes"]
    except (SafetensorError, KeyError) as error:
        raise ValueError("the codes are not what was written") from error


def _store(folder: Path, origin: Origin, wanted: str, made: Stored) -> Stored:
    """Write both files and their note. Returns the same with the exact descriptors mapped from disk."""

    def write_codes(path: Path) -> None:
        save_file({"codes": made.codes, "matrix": made.hasher.matrix, "centre": made.hasher.centre}, path)

    def write_exact(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, made.exact, allow_pickle=False)

    fit = None if made.fit is None else asdict(made.fit)
    note = store(folder, origin, "hash", {_CODES: write_codes, _EXACT: write_exact}, hasher=wanted, fit=fit)
    name = next(name for name in note.files if name.endswith(_EXACT))
    return Stored(made.hasher, made.codes, _mapped(folder / name), made.fit)


def _mapped(path: Path) -> Halves:
    """Exact descriptors that stay on disk. A shortlist reads rows here and there, for which reading ahead costs six
    times as long where nothing is in memory yet."""
    exact: Halves = np.load(path, mmap_mode="r", allow_pickle=False)
    pages: Any = exact.base
    if hasattr(pages, "madvise") and hasattr(mmap, "MADV_RANDOM"):  # not every system has it
        pages.madvise(mmap.MADV_RANDOM)
    return exact
