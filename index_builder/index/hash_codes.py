"""Recall by hash codes: a few bytes per photo in memory, and a shortlist scored by exact descriptors on disk.

A code is the signs of a linear map of the descriptor. Its matrix is learnt with the network if the checkpoint has one.
Otherwise it is fitted to the gallery's own descriptors by iterative quantisation (Gong, Lazebnik, Gordo and Perronnin,
TPAMI 2013, in FAISS). FAISS compares codes by the number of bits in which they differ.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from index_builder.index.candidate_index import Asked, Descriptors, Rows
from index_builder.index.faiss_search import FaissIndex, load_faiss
from index_builder.index.gpu_index import GPU_MOST
from index_builder.index.on_gpus import codes_on_gpu
from index_builder.index.settings import RecallSettings
from model.errors import ConfigurationError

Codes = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]
_TRAINING = 20_000
_BLOCK = 65_536
_TIE_MARGIN = 16


@dataclass(frozen=True)
class Hasher:
    """From descriptors to codes.

    Attributes:
        matrix: [bits, E] float32.
        centre: [E] float32, subtracted from descriptors before.
        origin: "learnt" or "itq".
    """

    matrix: Descriptors
    centre: Descriptors
    origin: Literal["learnt", "itq"]

    @property
    def bits(self) -> int:
        """Length of a code."""
        return int(self.matrix.shape[0])

    @property
    def digest(self) -> str:
        """Of matrix and centre: which codes may be compared with each other."""
        return hashlib.sha256(self.matrix.tobytes() + self.centre.tobytes()).hexdigest()

    def codes(self, descriptors: Descriptors) -> Codes:
        """Descriptors [n, E] float32 -> codes [n, bits / 8] uint8."""
        projected = (np.asarray(descriptors, dtype=np.float32) - self.centre) @ self.matrix.T
        return np.packbits(projected >= 0, axis=1, bitorder="little")


def learnt_hasher(projection: npt.NDArray[np.float32]) -> Hasher:
    """The hasher of a network's learnt projection [bits, E]."""
    matrix = np.ascontiguousarray(projection, dtype=np.float32)
    return Hasher(matrix, np.zeros(matrix.shape[1], dtype=np.float32), "learnt")


def fit_hasher(descriptors: Descriptors, bits: int) -> Hasher:
    """A hasher fitted to descriptors: their leading directions, rotated by iterative quantisation.

    Args:
        descriptors: [n, E], of which a seeded sample is read.
        bits: length of a code, at most E rounded down to a multiple of 8.

    Raises:
        ConfigurationError: descriptors are too short for a code of a byte.
    """
    faiss = load_faiss()
    count, size = descriptors.shape
    bits = min(bits, size // 8 * 8)
    if bits < 8:
        raise ConfigurationError(f"descriptors of {size} numbers are too short for hash codes: choose another --recall")
    chosen = np.sort(np.random.default_rng(0).choice(count, min(count, _TRAINING), replace=False))
    sample = np.ascontiguousarray(descriptors[chosen], dtype=np.float32)
    centre = sample.mean(axis=0)
    centred = (sample - centre).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    leading = directions[:, ::-1][:, :bits]
    # Libraries differ in the signs of eigenvectors; a fixed choice gives the same codes everywhere.
    leading = leading * np.where(leading[np.abs(leading).argmax(axis=0), np.arange(bits)] < 0, -1.0, 1.0)
    rotation = faiss.ITQMatrix(bits)
    rotation.train(np.ascontiguousarray(centred @ leading, dtype=np.float32))
    turn = faiss.vector_to_array(rotation.A).reshape(bits, bits)
    return Hasher(np.ascontiguousarray(turn @ leading.T, dtype=np.float32), centre, "itq")


def chosen_hasher(settings: RecallSettings, learnt: npt.NDArray[np.float32] | None, descriptors: Descriptors) -> Hasher:
    """The hasher that the settings ask for: learnt where the checkpoint has one, else fitted to the descriptors.

    Raises:
        ConfigurationError: learnt codes are asked for and the checkpoint has none.
    """
    if settings.hash_source == "learnt" and learnt is None:
        raise ConfigurationError(
            "this checkpoint has no learnt hash codes: take hash_source 'itq', or a checkpoint of the preset crossatnet"
        )
    if learnt is not None and settings.hash_source != "itq":
        return learnt_hasher(learnt)
    return fit_hasher(descriptors, settings.hash_bits)


def encode_all(hasher: Hasher, descriptors: Descriptors) -> Codes:
    """Codes [n, bits / 8] of many descriptors, in blocks."""
    blocks = [hasher.codes(descriptors[start : start + _BLOCK]) for start in range(0, len(descriptors), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty((0, hasher.bits // 8), dtype=np.uint8)


class HashIndex(FaissIndex):
    """Searches codes, and scores a shortlist by exact descriptors.

    Scores are inner products. Without a shortlist they are cosines estimated from the codes (Charikar, STOC 2002: the
    share of differing bits is the angle as a share of pi).

    Args:
        hasher: that made the codes.
        codes: [n, bits / 8] uint8, row i of the i-th photo id.
        exact: [n, E] float16, the same rows; may be a memory map.
        settings: `shortlist` photos are scored exactly, 0 for none; `threads` of one search; `device`.
    """

    def __init__(self, hasher: Hasher, codes: Codes, exact: Halves, settings: RecallSettings) -> None:
        self.hasher = hasher
        self._exact, self._shortlist = exact, settings.shortlist
        index = load_faiss().IndexBinaryFlat(hasher.bits)
        if len(codes):
            index.add(np.ascontiguousarray(codes))
        super().__init__(index, codes_on_gpu(index, settings), settings.threads)

    @property
    def kind(self) -> str:
        """With the length and origin of its codes."""
        return f"hash of {self.hasher.bits} bits ({self.hasher.origin})"

    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> exact descriptors [k, E] float32, from half precision."""
        halves = np.asarray(self._exact)[rows]
        found: Descriptors = torch.from_numpy(halves).float().numpy()  # four times as fast as numpy's own conversion
        return found

    def _answer(self, asked: Asked) -> None:
        shortlist = min(max(asked.k, self._shortlist), asked.possible)
        for number, (found, differing) in enumerate(self._shortlists(asked, shortlist)):
            near = np.sort(found) if self._shortlist else found  # reads the disk forwards
            if self._shortlist:
                cosines = np.minimum(self.descriptors(near) @ asked.queries[number], 1.0)
            else:
                cosines = np.cos(differing.astype(np.float32) * (math.pi / self.hasher.bits))
            order = np.lexsort((asked.ties[near], -cosines))[: asked.k]
            asked.rows[number, : len(order)] = near[order]
            asked.scores[number, : len(order)] = cosines[order]

    def _shortlists(self, asked: Asked, most: int) -> Iterator[tuple[Rows, npt.NDArray[np.int32]]]:
        """For each query the rows of the nearest codes, and in how many bits these differ, the least first.

        Many codes differ in as many bits. FAISS breaks such ties by chance, and on a GPU by another one than on a CPU.
        So it is asked for more than `most`, and those at the last distance, which may not be all, are left out. The
        others are cut in the order of `asked.ties`. Fewer than `most` may remain, but never fewer than `k`.
        """
        codes, wanted = self.hasher.codes(asked.queries), most + max(most // 4, _TIE_MARGIN)
        if most <= GPU_MOST:
            wanted = min(wanted, GPU_MOST)
        while True:
            wanted = min(wanted, asked.possible)
            differing, found = self._nearest(codes, wanted, asked)
            certain = (differing < differing[:, -1:]) if wanted < asked.possible else found >= 0
            if wanted == asked.possible or bool((np.count_nonzero(certain, axis=1) >= asked.k).all()):
                break
            wanted *= 4
        for rows, bits, known in zip(found, differing, certain, strict=True):
            near, distances = rows[known], bits[known]
            if len(near) > most:
                sure = int(np.searchsorted(distances, distances[most - 1]))
                tied = near[distances == distances[most - 1]]
                near = np.concatenate([near[:sure], tied[np.argsort(asked.ties[tied])][: most - sure]])
            yield near, distances[:most]
