"""What every kind of index shares around a FAISS search: arguments, threads, and who answers, GPU or CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from model.errors import MissingExtraError

if TYPE_CHECKING:
    from index_builder.index.gpu_index import GpuIndex

Descriptors: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]
Allowed: TypeAlias = npt.NDArray[np.bool_]


def load_faiss() -> Any:
    """The FAISS module.

    Raises:
        MissingExtraError: not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "searching needs FAISS; install one of its two builds: pip install 'sketchseek[cpu]' or 'sketchseek[gpu]'"
        ) from error
    return faiss


@dataclass(frozen=True)
class Asked:
    """What is searched for, and where the answer goes.

    Attributes:
        queries: [Q, E] float32 in one piece.
        k: candidates per query.
        allowed: [n] bool, the photos that may be found, or None for all.
        possible: how many photos may be found; 0 where there is nothing to search for.
        ties: [n] int64, the order of photos with exactly the same score.
        rows: [Q, k] int64 of -1, to be filled.
        scores: [Q, k] float32 of -inf, to be filled.
    """

    queries: Descriptors
    k: int
    allowed: Allowed | None
    possible: int
    ties: Rows
    rows: Rows
    scores: Descriptors

    @staticmethod
    def of(
        photos: int, descriptors: Descriptors, k: int, allowed: Allowed | None = None, ties: Rows | None = None
    ) -> Asked:
        """The arguments of a search.

        Args:
            photos: n, how many the index holds.
            descriptors: of one query [E] or of several [Q, E].
            k: candidates per query.
            allowed: [n] bool, the photos that may be found; None allows all.
            ties: [n] int64, the order of photos with exactly the same score; None takes that of rows.

        Raises:
            ValueError: `allowed` has another length.
        """
        if allowed is not None and len(allowed) != photos:
            raise ValueError(f"`allowed` must have one entry per photo: {photos}, not {len(allowed)}")
        queries = np.ascontiguousarray(np.atleast_2d(descriptors), dtype=np.float32)
        possible = photos if allowed is None else int(np.count_nonzero(allowed))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        order = np.arange(photos, dtype=np.int64) if ties is None else ties
        return Asked(queries, k, allowed, possible if k > 0 and len(queries) else 0, order, rows, scores)


class CandidateIndex(ABC):
    """Finds candidates with one FAISS index, on a GPU where it can; safe to use from several threads.

    Args:
        index: FAISS's, row i holding the i-th photo.
        gpu: the same on GPUs, or None.
        threads: OpenMP threads of one search.
    """

    def __init__(self, index: Any, gpu: GpuIndex | None, threads: int) -> None:
        self._faiss = load_faiss()
        self._index, self._gpu, self._threads = index, gpu, threads

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    @abstractmethod
    def kind(self) -> str:
        """Which kind of index it is, for people."""

    @property
    def device(self) -> str:
        """Where it searches: "cpu", or how many GPUs."""
        return "cpu" if self._gpu is None else self._gpu.device

    @property
    def gpu_problem(self) -> str | None:
        """Why it searches on the CPU although there is a GPU, as a sentence for people; None otherwise."""
        return None if self._gpu is None else self._gpu.problem

    @abstractmethod
    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> descriptors [k, E] float32 as they are searched, in half precision."""

    def search(
        self, descriptors: Descriptors, k: int, allowed: Allowed | None = None, ties: Rows | None = None
    ) -> tuple[Rows, Descriptors]:
        """The k best photos of each query.

        Args:
            descriptors: [Q, E] float32, L2-normalised.
            k: candidates per query.
            allowed: [n] bool, the photos that may be found; None allows all.
            ties: [n] int64, the order of photos with exactly the same score; None takes that of rows.

        Returns:
            rows [Q, k] int64 (-1 where there are not so many) and scores [Q, k] float32 (-inf there), best first,
            exact ties in the order of `ties`.

        Raises:
            ValueError: `allowed` has another length.
        """
        asked = Asked.of(len(self), descriptors, k, allowed, ties)
        if asked.possible:
            self._answer(asked)
        return asked.rows, asked.scores

    @abstractmethod
    def _answer(self, asked: Asked) -> None:
        """Fill rows and scores of what is asked for."""

    def _nearest(self, queries: npt.NDArray[Any], k: int, asked: Asked) -> Any:
        """FAISS's own answer for queries in the index's own form: scores or distances, and rows, both [Q, k]."""
        if self._gpu is not None and self._gpu.can(k, asked.allowed):
            found = self._gpu.search(queries, k)
            if found is not None:
                return found
        selector = None
        if asked.allowed is not None:
            selector = self._faiss.IDSelectorBitmap(np.packbits(asked.allowed, bitorder="little"))
        parameters = self._parameters(selector, asked.possible)
        # FAISS and torch share this thread's OpenMP, so its number of threads is put back for torch.
        before = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(self._threads)
        try:
            return self._index.search(queries, k, params=parameters)
        finally:
            self._faiss.omp_set_num_threads(before)

    def _parameters(self, selector: Any, possible: int) -> Any:  # noqa: ARG002 - for those that look at a part only
        """FAISS's parameters for a search among `possible` photos; None where it needs none."""
        return None if selector is None else self._faiss.SearchParameters(sel=selector)
