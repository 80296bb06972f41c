"""What every kind of index is asked: which photos may be found, how many, and in which order of ties."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from index_builder.photo_filter import ALL_PHOTOS, PhotoFilter

Descriptors: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]
Allowed: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Selection:
    """Which of n photos may be found. An index in this process looks at the mask, one elsewhere is told the reasons.

    Attributes:
        mask: [n] bool, what all of the reasons together let through.
        chosen: the filter.
        only: rows outside which nothing is found, or None.
        left_out: rows that are not found.
    """

    mask: Allowed
    chosen: PhotoFilter = ALL_PHOTOS
    only: Rows | None = None
    left_out: Collection[int] = ()

    @staticmethod
    def of_mask(mask: Allowed) -> Selection:
        """The photos of a mask [n] bool, for no other reason."""
        return Selection(mask, only=np.flatnonzero(mask).astype(np.int64))

    @cached_property
    def count(self) -> int:
        """How many photos may be found."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class Asked:
    """What is searched for, and where the answer goes.

    Attributes:
        queries: [Q, E] float32 in one piece.
        k: candidates per query.
        selection: which photos may be found, or None for all.
        possible: how many photos may be found; 0 where there is nothing to search for.
        ties: [n] int64, the order of photos with exactly the same score.
        rows: [Q, k] int64 of -1, to be filled.
        scores: [Q, k] float32 of -inf, to be filled.
    """

    queries: Descriptors
    k: int
    selection: Selection | None
    possible: int
    ties: Rows
    rows: Rows
    scores: Descriptors

    @staticmethod
    def of(
        photos: int, descriptors: Descriptors, k: int, selection: Selection | None = None, ties: Rows | None = None
    ) -> Asked:
        """The arguments of a search.

        Args:
            photos: n, how many the index holds.
            descriptors: of one query [E] or of several [Q, E].
            k: candidates per query.
            selection: which photos may be found; None allows all.
            ties: [n] int64, the order of photos with exactly the same score; None takes that of rows.

        Raises:
            ValueError: the mask has another length.
        """
        if selection is not None and len(selection.mask) != photos:
            raise ValueError(f"the mask must have one entry per photo: {photos}, not {len(selection.mask)}")
        queries = np.ascontiguousarray(np.atleast_2d(descriptors), dtype=np.float32)
        possible = photos if selection is None else selection.count
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        order = np.arange(photos, dtype=np.int64) if ties is None else ties
        return Asked(queries, k, selection, possible if k > 0 and len(queries) else 0, order, rows, scores)


class CandidateIndex(ABC):
    """Finds candidates among the photos of one version; safe to use from several threads."""

    @abstractmethod
    def __len__(self) -> int:
        """How many photos it holds."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Which kind of index it is, for people."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it searches, for people: such as "on cpu"."""

    @property
    def gpu_problem(self) -> str | None:
        """Why it searches on the CPU although there is a GPU, as a sentence for people; None otherwise."""
        return None

    @property
    def away(self) -> str | None:
        """Why it cannot search at the moment, as a sentence for people; None while it can."""
        return None

    def look(self) -> bool:
        """Find out whether it can search now, which `away` says from then on; False if it has to be opened anew."""
        return True

    @abstractmethod
    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> descriptors [k, E] float32 as they are searched, in half precision."""

    def search(
        self, descriptors: Descriptors, k: int, selection: Selection | None = None, ties: Rows | None = None
    ) -> tuple[Rows, Descriptors]:
        """The k best photos of each query.

        Args:
            descriptors: [Q, E] float32, L2-normalised.
            k: candidates per query.
            selection: which photos may be found; None allows all.
            ties: [n] int64, the order of photos with exactly the same score; None takes that of rows.

        Returns:
            rows [Q, k] int64 (-1 where there are not so many) and scores [Q, k] float32 (-inf there), best first,
            exact ties in the order of `ties`.

        Raises:
            ValueError: the mask has another length.
        """
        asked = Asked.of(len(self), descriptors, k, selection, ties)
        if asked.possible:
            self._answer(asked)
        return asked.rows, asked.scores

    @abstractmethod
    def _answer(self, asked: Asked) -> None:
        """Fill rows and scores of what is asked for."""
