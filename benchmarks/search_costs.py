"""Measures what the stages of a search cost, in batches of several sizes: the product's own path, and its indices."""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from measure import CLOCKS, take_turns

# isort: split
import numpy as np
import torch
from costs import IndexCost
from galleries import Floats, descriptors
from material import draw_sketches
from recall import forget, same

from app.search.query_and_answer import Asked, Begun, Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot, RecallSettings
from index_builder.index.candidate_index import CandidateIndex
from index_builder.index.faiss_search import load_faiss
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher
from index_builder.index.settings import TRAINING_PER_LIST
from model.images.opening import open_image

_STAGES = ("encode", "recall", "rerank")
_COLD_ROWS = 16  # so few that one read seldom brings another's page


def stages(searcher: TwoStageSearcher, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of a whole batch, for each stage and each size of a batch."""
    size = searcher.network.preprocess.image_size
    generator = torch.Generator().manual_seed(0)
    seen: dict[tuple[str, int], list[float]] = defaultdict(list)
    query = Query(candidates=arguments.candidates)
    clock = CLOCKS[arguments.clock]
    for number in range(arguments.rounds + 1):
        for batch in arguments.batches:
            images = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
            queries = [query] * batch
            laps = [clock()]
            encoding = searcher.encode(images)
            sketches = [encoding[place : place + 1] for place in range(batch)]
            laps.append(clock())
            found = searcher.recall([Asked.of_sketch(one) for one in sketches], queries)
            laps.append(clock())
            begun = [
                Begun(QueryParts(image), query, sketch, candidates, {})
                for image, sketch, candidates in zip(images, sketches, found, strict=True)
            ]
            for step in searcher.steps(begun):
                searcher.finish(begun[step])
            laps.append(clock())
            if number:
                for name, (before, after) in zip(_STAGES, itertools.pairwise(laps), strict=True):
                    seen[name, batch].append(1e3 * (after - before))
    return {name: [median(seen[name, batch]) for batch in arguments.batches] for name in _STAGES}


def decoding(searcher: TwoStageSearcher, arguments: argparse.Namespace) -> float:
    """Milliseconds of one sketch from its file's bytes to the network's input, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        draw_sketches(Path(folder) / "sketches", 4)
        sketches = [path.read_bytes() for path in (Path(folder) / "sketches").iterdir()]
    decode = {"decode": lambda: [searcher.prepare(open_image(data)) for data in sketches]}
    return take_turns(decode, arguments.rounds, clock=CLOCKS[arguments.clock]).ms("decode", len(sketches))


def indices(arguments: argparse.Namespace, size: int) -> tuple[dict[str, IndexCost], float, float]:
    """What each kind of recall costs; and nanoseconds of IVF's making, for a list and a photo: training, adding."""
    first, last = arguments.sizes
    every = descriptors(last, size, seed=1)
    queries = descriptors(max(arguments.batches), size, seed=2, photos=last)
    measured = _Recall(arguments, queries)
    flat = [RecallIndex(build_index(every[:count], "flat"), RecallSettings(kind="flat")) for count in (first, last)]
    exact = flat[1].search(queries, arguments.candidates)[0]
    costs = {"flat": measured.linear(flat, photo_bytes=2 * size, found=1.0, shortlist=0)}
    hasher = fit_hasher(every[: arguments.fitted], arguments.hash_bits)
    settings = RecallSettings(kind="hash")
    codes, halves = encode_all(hasher, every), every.astype(np.float16)
    hashed = [HashIndex(hasher, codes[:count], halves[:count], settings) for count in (first, last)]
    found = same(hashed[1].search(queries, arguments.candidates)[0], exact)
    costs["hash"] = measured.linear(hashed, photo_bytes=hasher.bits / 8, found=found, shortlist=settings.shortlist)
    del flat, hashed, codes, halves, every
    some = descriptors(arguments.ivf_photos, size, seed=1)
    queries = descriptors(max(arguments.batches), size, seed=2, photos=len(some))
    costs["ivf"], train_ns, add_ns = _Recall(arguments, queries).ivf(some, costs["flat"])
    return costs, train_ns, add_ns


class _Recall:
    """Measures indices with batches of queries."""

    def __init__(self, arguments: argparse.Namespace, queries: Floats) -> None:
        self._arguments, self._queries = arguments, queries
        self._clock = CLOCKS[arguments.clock]

    def _ms(self, index: CandidateIndex) -> list[float]:
        """Of each size of a batch."""
        k = self._arguments.candidates
        sides: dict[str, Callable[[], object]] = {
            str(batch): lambda batch=batch: index.search(self._queries[:batch], k)  # type: ignore[misc]
            for batch in self._arguments.batches
        }
        turns = take_turns(sides, self._arguments.rounds, clock=self._clock)
        return [turns.ms(side) for side in sides]

    def linear(self, both: Sequence[CandidateIndex], *, photo_bytes: float, found: float, shortlist: int) -> IndexCost:
        """From the same index over few and over many photos."""
        sizes = [len(index) for index in both]
        few, many = (self._ms(index) for index in both)
        photo_ns, fixed = [], []
        for batch, less, more in zip(self._arguments.batches, few, many, strict=True):
            each = max(0.0, 1e6 * (more - less) / (batch * (sizes[1] - sizes[0])))
            photo_ns.append(each)
            fixed.append(max(0.0, more - batch * sizes[1] * each / 1e6))
        return IndexCost(fixed, photo_ns, 0.0, 1.0, photo_bytes, 0.0, shortlist, sizes[1], found)

    def ivf(self, data: Floats, flat: IndexCost) -> tuple[IndexCost, float, float]:
        """From one index with two numbers of probes. A photo in a list costs at least what it costs in a flat index."""
        faiss, k, (count, size) = load_faiss(), self._arguments.candidates, data.shape
        started = self._clock()
        index = build_index(data, "ivf")
        making = self._clock() - started
        started = self._clock()
        build_index(data, "ivf", trained=index)  # empties it and adds all again
        adding, lists = self._clock() - started, int(index.nlist)
        few, more = (RecallIndex(index, RecallSettings(kind="ivf", probes=probes)) for probes in (0.02, 0.2))
        exact = RecallIndex(build_index(data, "flat"), RecallSettings(kind="flat")).search(self._queries, k)[0]
        found = same(few.search(self._queries, k)[0], exact)
        ms = {probes: self._ms(one) for probes, one in ((0.02, few), (0.2, more))}
        one = np.ascontiguousarray(self._queries[:1])
        faiss.omp_set_num_threads(1)
        choosing = {"choose": lambda: index.quantizer.search(one, max(1, lists // 50))}
        list_ns = 1e6 * take_turns(choosing, 4 * self._arguments.rounds, clock=self._clock).ms("choose") / lists
        photo_ns, fixed = [], []
        for place, batch in enumerate(self._arguments.batches):
            each = 1e6 * (ms[0.2][place] - ms[0.02][place]) / (batch * 0.18 * count)
            photo_ns.append(max(each, flat.photo_ns[place]))
            looked = batch * (0.02 * count * max(each, 0.0) + lists * list_ns) / 1e6
            fixed.append(max(0.0, ms[0.02][place] - looked))
        codes = len(faiss.serialize_index(index)) - 4 * lists * size
        made = IndexCost(
            fixed, photo_ns, list_ns, 0.02, codes / count + 8, 4.0 * size, 0, count, found
        )  # 8 bytes are the map from a row to its place
        add_ns = 1e9 * adding / (count * lists)
        train_ns = 1e9 * (making - adding) / (lists * min(count, lists * TRAINING_PER_LIST))
        return made, max(0.0, train_ns), add_ns


def token_reads(gallery: Path, network: Any, count: int, arguments: argparse.Namespace) -> float:
    """Milliseconds that reading one candidate's tokens from the disk adds to reading them from the system's memory."""
    rng = np.random.default_rng(1)
    clock = CLOCKS["wall"]  # waiting is what it is about
    snapshot = GallerySnapshot.load(gallery, network.identity, dtype=network.dtype, cache_bytes=0)
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * arguments.rounds + 2):
        rows = rng.choice(count, min(count, arguments.candidates), replace=False)
        for cold in (True, False):
            if cold:
                forget(gallery)
            started = clock()
            snapshot.encodings(rows)
            if number > 1:
                took[cold].append((clock() - started) / len(rows))
    return max(0.0, 1e3 * (mean(took[True]) - mean(took[False])))


def exact_reads(size: int, photos: int, folder: Path, arguments: argparse.Namespace) -> float:
    """Milliseconds that reading one descriptor of a shortlist from the disk adds."""
    path = folder / "exact.npy"
    np.save(path, np.zeros((photos, size), dtype=np.float16))
    rng = np.random.default_rng(2)
    took: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(2 * arguments.rounds + 1):
        rows = np.sort(rng.choice(photos, _COLD_ROWS, replace=False))
        for cold in (True, False):
            if cold:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            halves = np.load(path, mmap_mode="r")
            started = CLOCKS["wall"]()
            halves[rows].sum()
            took[cold].append((CLOCKS["wall"]() - started) / _COLD_ROWS)
            del halves
    return max(0.0, 1e3 * (mean(took[True]) - mean(took[False])))
