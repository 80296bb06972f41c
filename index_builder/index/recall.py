"""The recall stage: finds the candidates of a descriptor among one gallery version's descriptors, with FAISS.

Rows are in the order of photo ids, so that breaking exact ties by row breaks them by photo id.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from index_builder.index.faiss_search import Allowed, Asked, Descriptors, GpuIndex, Rows, search_on_cpu, selector
from model.errors import ConfigurationError, MissingExtraError

Kind = Literal["flat", "ivf", "hash"]
_KINDS = ("auto", "flat", "ivf", "hash")
_SOURCES = ("auto", "learnt", "itq")
_TIE_MARGIN = 16
_TRAINING_PER_LIST = 40
_TRAINING_ROUNDS = 10


@dataclass(frozen=True)
class RecallSettings:
    """How candidates are found.

    Attributes:
        kind: "flat" is exact, in half precision; "ivf" looks at the nearest lists only; "hash" compares short codes
            and scores a shortlist exactly (`index_builder/index/hash_codes.py`); "auto" takes flat below `ivf_from`
            photos and IVF from there.
        ivf_from: photos from which "auto" takes IVF.
        probes: share of the lists that IVF looks at, in (0, 1].
        threads: OpenMP threads of one search. More than one costs a busy machine far more than it gives one query.
        gpu: use all visible GPUs where this FAISS can: "replicate" puts the whole index on each (throughput), "shard" a
            part (size), "off" stays on the CPU, "auto" replicates what fits and shards what does not.
        hash_bits: length of codes that are fitted to the gallery, a multiple of 8; learnt ones have a length of their
            own.
        hash_source: "learnt" codes, which the checkpoint must have; "itq" for codes fitted to the gallery; "auto" takes
            learnt ones where there are any.
        shortlist: photos with the nearest codes that are scored by exact descriptors, at least as many as are asked
            for; 0 goes by the codes alone.
    """

    kind: Literal["auto", "flat", "ivf", "hash"] = "auto"
    ivf_from: int = 3_000_000
    probes: float = 0.02
    threads: int = 1
    gpu: Literal["auto", "replicate", "shard", "off"] = "auto"
    hash_bits: int = 256
    hash_source: Literal["auto", "learnt", "itq"] = "auto"
    shortlist: int = 1000

    def __post_init__(self) -> None:
        if self.threads < 1 or self.ivf_from < 1 or not 0 < self.probes <= 1:
            raise ConfigurationError(
                f"recall needs threads and ivf_from of at least 1 and probes in (0, 1]; got {self}"
            )
        if self.hash_bits < 8 or self.hash_bits % 8 or self.shortlist < 0:
            raise ConfigurationError(
                f"recall by hash codes needs hash_bits in whole bytes and a shortlist of 0 or more; got {self}"
            )

    def kind_for(self, photos: int) -> Kind:
        """What is built for a gallery of this size; one too small to train IVF or codes on is searched flat."""
        if photos < _TRAINING_PER_LIST:
            return "flat"
        if self.kind == "auto":
            return "ivf" if photos >= self.ivf_from else "flat"
        return self.kind


def settings_from_words(kind: str, hash_bits: int, hash_source: str) -> RecallSettings:
    """Settings of what a person typed.

    Raises:
        ConfigurationError: a word is not one of those there are.
    """
    for name, word, words in (("recall", kind, _KINDS), ("hash-source", hash_source, _SOURCES)):
        if word not in words:
            raise ConfigurationError(f"--{name} is one of {', '.join(words)}, not {word!r}")
    return RecallSettings(kind=kind, hash_bits=hash_bits, hash_source=hash_source)  # type: ignore[arg-type]


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


def lists_for(photos: int) -> int:
    """Number of IVF lists: four times the square root, FAISS's rule of thumb, if there is enough to train on."""
    return max(1, min(int(4 * math.sqrt(photos)), photos // _TRAINING_PER_LIST))


def build_index(descriptors: Descriptors, kind: Kind, trained: Any = None) -> Any:
    """A FAISS index over descriptors [n, E], row i holding descriptor i, in half precision, by inner product.

    Args:
        descriptors: of all photos.
        kind: of the index.
        trained: an IVF index of an earlier version, whose lists are taken over if it has about as many as this one
            needs; it is emptied. Training takes minutes and lists hardly move when some photos come and go.
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
    """An empty IVF index with lists trained on a seeded sample, by half of the cores: searches go on meanwhile."""
    faiss = load_faiss()
    index = faiss.index_factory(descriptors.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid, index.cp.niter, index.cp.seed = 1, _TRAINING_ROUNDS, 1
    wanted = min(len(descriptors), lists * _TRAINING_PER_LIST)
    chosen = np.sort(np.random.default_rng(0).choice(len(descriptors), wanted, replace=False))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    try:
        index.train(np.ascontiguousarray(descriptors[chosen]))
    finally:
        faiss.omp_set_num_threads(before)
    return index


class RecallIndex:
    """Searches one FAISS index; safe to use from several threads.

    Args:
        index: what `build_index` made, row i holding the descriptor of the i-th photo id.
        settings: how to search it.
    """

    def __init__(self, index: Any, settings: RecallSettings) -> None:
        self._faiss = load_faiss()
        self._index, self._settings = index, settings
        self._lists: int = getattr(index, "nlist", 0)
        if self._lists:
            index.make_direct_map()  # so that descriptors can be read by row
        self._gpu = _on_gpus(index, settings)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def kind(self) -> Kind:
        """Which kind of index it is."""
        return "ivf" if self._lists else "flat"

    @property
    def device(self) -> str:
        """Where it searches: "cpu", or how many GPUs."""
        return "cpu" if self._gpu is None else f"{self._faiss.get_num_gpus()} gpu"

    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> descriptors [k, E] float32 as they are searched, in half precision."""
        if not len(rows):
            return np.empty((0, self._index.d), dtype=np.float32)
        found: Descriptors = self._index.reconstruct_batch(rows)
        return found

    def search(self, descriptors: Descriptors, k: int, allowed: Allowed | None = None) -> tuple[Rows, Descriptors]:
        """The k most similar photos of each query.

        Args:
            descriptors: [Q, E] float32, L2-normalised.
            k: candidates per query.
            allowed: [n] bool, the photos that may be found; None allows all.

        Returns:
            rows [Q, k] int64 (-1 where there are not so many) and cosines [Q, k] float32 (-inf there), best first,
            exact ties in the order of rows.
        """
        asked = Asked.of(len(self), descriptors, k, allowed)
        rows, scores, possible = asked.rows, asked.scores, asked.possible
        if not possible:
            return rows, scores
        margin = _TIE_MARGIN
        while True:
            # More than k are asked for, until the last one is worse than the k-th: then no tie was cut.
            wanted = min(k + margin, possible)
            found_scores, found = self._search(asked.queries, wanted, allowed, possible)
            found_scores = np.where(found < 0, -np.inf, found_scores)
            if wanted == possible or bool((found_scores[:, k - 1] > found_scores[:, -1]).all()):
                break
            if bool((found[:, -1] < 0).all()):
                break
            margin *= 4
        order = np.lexsort((found, -found_scores), axis=1)[:, :k]
        taken = order.shape[1]
        rows[:, :taken] = np.take_along_axis(found, order, axis=1)
        # Half precision can leave a cosine a little above 1.
        scores[:, :taken] = np.minimum(np.take_along_axis(found_scores, order, axis=1), 1.0)
        return rows, scores

    def _search(self, queries: Descriptors, k: int, allowed: Allowed | None, possible: int) -> tuple[Descriptors, Rows]:
        if self._gpu is not None and self._gpu.can(k, allowed):
            on_gpu: tuple[Descriptors, Rows] = self._gpu.search(queries, k)
            return on_gpu
        faiss, chosen = self._faiss, selector(self._faiss, allowed)
        if self._lists:
            # A filter thins every list, so more lists are looked at; all of them where it leaves little.
            share = 1.0 if possible < len(self) / 5 else min(1.0, self._settings.probes * len(self) / possible)
            parameters = faiss.SearchParametersIVF(sel=chosen, nprobe=max(1, math.ceil(self._lists * share)))
        else:
            parameters = None if chosen is None else faiss.SearchParameters(sel=chosen)
        found: tuple[Descriptors, Rows] = search_on_cpu(
            faiss, self._index, queries, k, threads=self._settings.threads, parameters=parameters
        )
        return found


def _on_gpus(index: Any, settings: RecallSettings) -> GpuIndex | None:
    """The index on all visible GPUs, or None where there is none or none is wanted."""
    faiss = load_faiss()
    usable = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if settings.gpu == "off" or not usable or not index.ntotal:
        return None
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = True
    if settings.gpu == "auto":
        import torch

        free = min(torch.cuda.mem_get_info(device)[0] for device in range(faiss.get_num_gpus()))
        options.shard = index.ntotal * index.d * 2 > free // 2
    else:
        options.shard = settings.gpu == "shard"
    source = index
    if not hasattr(
        index, "nlist"
    ):  # FAISS has no flat scalar quantiser on GPUs; its flat index keeps half precision there
        source = faiss.IndexFlatIP(index.d)
        for start in range(0, index.ntotal, 65536):
            source.add(index.reconstruct_n(start, min(65536, index.ntotal - start)))
    gpu = faiss.index_cpu_to_all_gpus(source, options)
    if hasattr(index, "nlist"):
        parameters = faiss.GpuParameterSpace()
        parameters.set_index_parameter(gpu, "nprobe", max(1, math.ceil(index.nlist * settings.probes)))
    return GpuIndex(gpu)
