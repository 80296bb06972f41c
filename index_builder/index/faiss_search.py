"""What every kind of FAISS index shares around a search: threads, and who answers, GPU or CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from index_builder.index.candidate_index import Asked, CandidateIndex
from model.errors import MissingExtraError

if TYPE_CHECKING:
    from index_builder.index.gpu_index import GpuIndex


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


class FaissIndex(CandidateIndex):
    """Finds candidates with one FAISS index, on a GPU where it can.

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
    def place(self) -> str:
        """On the CPU, or on how many GPUs."""
        return f"on {self.device}"

    @property
    def device(self) -> str:
        """Where it searches: "cpu", or how many GPUs."""
        return "cpu" if self._gpu is None else self._gpu.device

    @property
    def gpu_problem(self) -> str | None:
        """Why it searches on the CPU although there is a GPU, as a sentence for people; None otherwise."""
        return None if self._gpu is None else self._gpu.problem

    def _nearest(self, queries: npt.NDArray[Any], k: int, asked: Asked) -> Any:
        """FAISS's own answer for queries in the index's own form: scores or distances, and rows, both [Q, k]."""
        allowed = None if asked.selection is None else asked.selection.mask
        if self._gpu is not None and self._gpu.can(k, allowed):
            found = self._gpu.search(queries, k)
            if found is not None:
                return found
        selector = None
        if allowed is not None:
            selector = self._faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
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
