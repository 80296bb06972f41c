"""The recall stage: finds candidates for a descriptor among those of one gallery version, with FAISS.

Rows are in the order of photo ids, so breaking exact ties by row breaks them by photo id.
"""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np

from index_builder.index.candidate_index import Asked, Descriptors, Rows
from index_builder.index.faiss_search import FaissIndex, load_faiss
from index_builder.index.on_gpus import flat_on_gpus, ivf_on_gpus
from index_builder.index.settings import TRAINING_PER_LIST, RecallSettings

_TIE_MARGIN = 16
_TRAINING_ROUNDS = 10


def lists_for(photos: int) -> int:
    """Number of IVF lists: four times the square root, FAISS's rule of thumb, if there is enough to train on."""
    return max(1, min(int(4 * math.sqrt(photos)), photos // TRAINING_PER_LIST))


def build_index(descriptors: Descriptors, kind: Literal["flat", "ivf"], trained: Any = None) -> Any:
    """A FAISS index over descriptors [n, E], row i holding descriptor i, in half precision, by inner product.

    Args:
        descriptors: of all photos.
        kind: of the index.
        trained: an IVF index of an earlier version, which is emptied and reused if it has about as many lists as this
            one needs. Training takes minutes, and lists hardly move when some photos come and go.
    """
    faiss = load_faiss()
    count, size = descriptors.shape
    if kind == "flat":
        index = faiss.index_factory(size, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    elif trained is not None and trained.d == size and 0.5 < trained.nlist / lists_for(count) < 2:
        index = trained
        index.reset()
    else:
        index = _trained(descriptors, lists_for(count))
    for start in range(0, count, 65536):
        index.add(np.ascontiguousarray(descriptors[start : start + 65536], dtype=np.float32))
    return index


def _trained(descriptors: Descriptors, lists: int) -> Any:
    """An empty IVF index with lists trained on a seeded sample. Half of the cores stay free for searches."""
    faiss = load_faiss()
    index = faiss.index_factory(descriptors.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid, index.cp.niter, index.cp.seed = 1, _TRAINING_ROUNDS, 1
    wanted = min(len(descriptors), lists * TRAINING_PER_LIST)
    chosen = np.sort(np.random.default_rng(0).choice(len(descriptors), wanted, replace=False))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    try:
        index.train(np.ascontiguousarray(descriptors[chosen]))
    finally:
        faiss.omp_set_num_threads(before)
    return index


class RecallIndex(FaissIndex):
    """Searches descriptors, all of them (flat) or those of the nearest lists (IVF). Scores are cosines.

    Args:
        index: what `build_index` made, row i holding the descriptor of the i-th photo id.
        settings: how to search it.
    """

    def __init__(self, index: Any, settings: RecallSettings) -> None:
        self._lists: int = getattr(index, "nlist", 0)
        self._probes = settings.probes
        if self._lists:
            index.make_direct_map()  # so that descriptors can be read by row
            gpu = ivf_on_gpus(index, settings, self._looked_at(settings.probes))
        else:
            gpu = flat_on_gpus(index, settings)
        super().__init__(index, gpu, settings.threads)

    @property
    def kind(self) -> str:
        """ "flat" or "ivf"."""
        return "ivf" if self._lists else "flat"

    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> descriptors [k, E] float32, from half precision."""
        if not len(rows):
            return np.empty((0, self._index.d), dtype=np.float32)
        found: Descriptors = self._index.reconstruct_batch(rows)
        return found

    def _answer(self, asked: Asked) -> None:
        k, margin = asked.k, _TIE_MARGIN
        while True:
            # Ask for more than k until the last one is worse than the k-th: then no tie was cut.
            wanted = min(k + margin, asked.possible)
            found_scores, found = self._nearest(asked.queries, wanted, asked)
            found_scores = np.where(found < 0, -np.inf, found_scores)
            if wanted == asked.possible or bool((found_scores[:, k - 1] > found_scores[:, -1]).all()):
                break
            if bool((found[:, -1] < 0).all()):
                break
            margin *= 4
        order = np.lexsort((asked.ties[found], -found_scores), axis=1)[:, :k]  # -1 stands behind all others anyway
        taken = order.shape[1]
        asked.rows[:, :taken] = np.take_along_axis(found, order, axis=1)
        # Half precision can leave a cosine a little above 1.
        asked.scores[:, :taken] = np.minimum(np.take_along_axis(found_scores, order, axis=1), 1.0)

    def _parameters(self, selector: Any, possible: int) -> Any:
        if not self._lists:
            return super()._parameters(selector, possible)
        # A filter thins every list, so look at more lists, and at all of them if it leaves little.
        share = 1.0 if possible < len(self) / 5 else min(1.0, self._probes * len(self) / possible)
        return self._faiss.SearchParametersIVF(sel=selector, nprobe=self._looked_at(share))

    def _looked_at(self, share: float) -> int:
        """How many lists a share of them is."""
        return max(1, math.ceil(self._lists * share))
