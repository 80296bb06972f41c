"""The index that searches one version of a gallery, of the kind asked for, from the cache where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.index.cache_note import Note, Origin
from index_builder.index.candidate_index import CandidateIndex, Descriptors
from index_builder.index.faiss_search import load_faiss
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.hash_cache import open_hash_index
from index_builder.index.milvus_index import open_milvus_index
from index_builder.index.recall_cache import earlier_notes, first_of, load_cached, recall_folder, store, warn_not_stored
from index_builder.index.settings import RecallSettings
from index_builder.index.version_photos import VersionSource
from index_builder.store.places import GalleryPlace


def open_recall(
    gallery: GalleryPlace,
    origin: Origin,
    *,
    settings: RecallSettings,
    photos: int,
    read: Callable[[], Descriptors],
    learnt: npt.NDArray[np.float32] | None = None,
    outside: VersionSource | None = None,
) -> tuple[CandidateIndex, bool]:
    """What searches one version, as the settings ask for.

    Args:
        gallery: its place.
        origin: which version.
        settings: how to search.
        photos: how many the version has.
        read: gives the descriptors [photos, E] in the order of rows; called only if they are needed.
        learnt: the network's projection to hash codes [bits, E], or None.
        outside: the photos, for an index outside this process; Milvus needs them.

    Returns:
        the index, and whether it came from the cache.

    Raises:
        ConfigurationError: learnt codes are asked for and there are none.
        DeviceError: a GPU is asked for and there is none.
        RecallServerError: Milvus is asked for, and it cannot be reached or cannot do it.
        RecallCollectionError: Milvus is asked for, and its collection belongs to another gallery.
    """
    folder = recall_folder(gallery, settings.cache)
    kind = settings.kind_for(photos)
    if kind == "milvus":
        if outside is None:
            raise ValueError("Milvus has to be told of the photos")
        return open_milvus_index(origin, settings, outside)
    if kind == "hash":
        return open_hash_index(folder, origin, settings=settings, photos=photos, read=read, learnt=learnt)
    if kind == "flat":
        return RecallIndex(build_index(read(), "flat"), settings), False
    index, cached = _ivf_index(folder, origin, photos, read)
    return RecallIndex(index, settings), cached


def _ivf_index(folder: Path, origin: Origin, photos: int, read: Callable[[], Descriptors]) -> tuple[Any, bool]:
    index = load_cached(folder, origin, "ivf", _faiss_index)
    if index is not None and index.ntotal == photos:
        return index, True
    index = build_index(read(), "ivf", first_of(earlier_notes(folder, origin, "ivf"), _faiss_index))
    try:
        store(folder, origin, "ivf", {".faiss": lambda path: load_faiss().write_index(index, str(path))})
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError when the disk is full
        warn_not_stored(error)
    return index, False


def _faiss_index(note: Note) -> Any:
    return load_faiss().read_index(str(note.file(".faiss")))
