"""What every kind of index does around a search of FAISS: its arguments, its threads, and its turn on a GPU."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Descriptors: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]
Allowed: TypeAlias = npt.NDArray[np.bool_]
_GPU_MOST = 2048  # candidates that FAISS gives out per query on a GPU


@dataclass(frozen=True)
class Asked:
    """What is searched for, and where the answer goes.

    Attributes:
        queries: [Q, E] float32 in one piece.
        rows: [Q, k] int64 of -1, to be filled.
        scores: [Q, k] float32 of -inf, to be filled.
        possible: how many photos may be found; 0 where there is nothing to search for.
    """

    queries: Descriptors
    rows: Rows
    scores: Descriptors
    possible: int

    @staticmethod
    def of(photos: int, descriptors: Descriptors, k: int, allowed: Allowed | None) -> Asked:
        """The arguments of a search.

        Args:
            photos: n, how many the index holds.
            descriptors: of one query [E] or of several [Q, E].
            k: candidates per query.
            allowed: [n] bool, the photos that may be found; None allows all.

        Raises:
            ValueError: `allowed` has another length.
        """
        if allowed is not None and len(allowed) != photos:
            raise ValueError(f"`allowed` must have one entry per photo: {photos}, not {len(allowed)}")
        queries = np.ascontiguousarray(np.atleast_2d(descriptors), dtype=np.float32)
        possible = photos if allowed is None else int(np.count_nonzero(allowed))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        return Asked(queries, rows, scores, possible if k > 0 and len(queries) else 0)


def selector(faiss: Any, allowed: Allowed | None) -> Any:
    """A filter as FAISS takes it; None where everything is allowed."""
    return None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def search_on_cpu(faiss: Any, index: Any, queries: npt.NDArray[Any], k: int, *, threads: int, parameters: Any) -> Any:
    """FAISS's own answer of an index in main memory, which any number of threads may search at once."""
    # FAISS and torch share this thread's OpenMP, so its number of threads is put back for torch.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        return index.search(queries, k, params=parameters)
    finally:
        faiss.omp_set_num_threads(before)


class GpuIndex:
    """A FAISS index on GPUs, searched by one thread at a time: its searches share memory for what they work out, which
    FAISS does not guard.

    Args:
        index: FAISS's.
        resources: what has to live as long as it.
    """

    def __init__(self, index: Any, resources: Any = None) -> None:
        self._index, self._resources = index, resources
        self._turn = threading.Lock()

    @staticmethod
    def can(k: int, allowed: Allowed | None) -> bool:
        """Whether FAISS searches for so much on a GPU."""
        return allowed is None and k <= _GPU_MOST

    def search(self, queries: npt.NDArray[Any], k: int) -> Any:
        """FAISS's own answer: scores or distances, and rows, both [Q, k]."""
        with self._turn:
            return self._index.search(queries, k)
