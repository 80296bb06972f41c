"""Recall on a Milvus server: the same search as FAISS, with descriptors and filters outside this process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from index_builder.gallery_errors import CollectionGoneError, RecallServerError
from index_builder.index.cache_note import Origin
from index_builder.index.candidate_index import Asked, CandidateIndex, Descriptors, Rows
from index_builder.index.milvus_collection import HNSW_FROM, MOST_ROWS, Collection, IndexKind
from index_builder.index.milvus_filling import fill, halved
from index_builder.index.milvus_filters import expression
from index_builder.index.milvus_notes import Note, Owner
from index_builder.index.milvus_server import SEARCH_S, check_address, load_pymilvus, server_at
from index_builder.index.settings import RecallSettings
from index_builder.index.version_photos import VersionPhotos, VersionSource
from model.errors import ConfigurationError

_TIE_MARGIN = 16
_DEEPER = 4  # times the candidates: some checkpoints look through so many
_LEAST_EF, _MOST_EF = 128, 8192  # nodes of the graph that a search keeps in view
_PROBES, _MOST_PROBES = 32, 1024  # lists that it looks at


def open_milvus_index(origin: Origin, settings: RecallSettings, source: VersionSource) -> tuple[MilvusIndex, bool]:
    """The index of one version, once Milvus holds all its photos; and whether it did before.

    Raises:
        ConfigurationError: there is no address.
        RecallServerError: Milvus cannot be reached, or cannot do it.
        RecallCollectionError: the collection belongs to another gallery.
    """
    check_address(settings.server_url)
    server = server_at(str(settings.server_url), settings.server_token)
    generation, commit = origin.number
    photos = source.photos()
    kind: IndexKind = settings.server_index if settings.server_index != "auto" else index_for(len(photos))
    owner = Owner(source.gallery, origin.checkpoint, generation, source.size)
    collection = Collection(server, owner, kind)
    note = Note.of(owner, commit, len(photos), origin.source)
    index = MilvusIndex(collection, photos, note, source.take)
    if not len(photos):
        return index, True
    collection.make_ready()
    return index, fill(collection, photos, note, source)


def check_recall_server(settings: RecallSettings, most_candidates: int, most_results: int) -> None:
    """Check what can be checked of recall on Milvus without asking it, if that is chosen.

    Raises:
        ConfigurationError: there is no address, or Milvus cannot give so many candidates or results.
        MissingExtraError: pymilvus is not installed.
    """
    if settings.kind != "milvus":
        return
    check_address(settings.server_url)
    load_pymilvus()
    if most_candidates > MOST_ROWS // _DEEPER:
        raise ConfigurationError(f"SKETCHSEEK_MAX_CANDIDATES is {MOST_ROWS // _DEEPER} at most with recall on Milvus")
    if most_results > MOST_ROWS:
        raise ConfigurationError(f"SKETCHSEEK_MAX_TOP_K is {MOST_ROWS} at most with recall on Milvus")


def index_for(photos: int) -> IndexKind:
    """The kind of Milvus's own index for so many photos."""
    return "hnsw" if photos >= HNSW_FROM else "flat"


class MilvusIndex(CandidateIndex):
    """Searches one version in a collection.

    Args:
        collection: that holds it.
        photos: of the version.
        note: of the version.
        take: gives the descriptors [k, E] of rows [k], as the network made them.
    """

    def __init__(
        self, collection: Collection, photos: VersionPhotos, note: Note, take: Callable[[Rows], Descriptors]
    ) -> None:
        self._collection, self._photos, self._note, self._take = collection, photos, note, take
        self._lost: str | None = None

    def __len__(self) -> int:
        return len(self._photos)

    @property
    def kind(self) -> str:
        """ "milvus"."""
        return "milvus"

    @property
    def place(self) -> str:
        """At which host."""
        return f"at {self._collection.server.shown}"

    @property
    def away(self) -> str | None:
        """Why Milvus does not answer, as a sentence for people; None while it does."""
        return (self._lost or self._collection.server.problem) if len(self) else None

    def look(self) -> bool:
        """Ask Milvus for this version's note; False if it has lost it."""
        if not len(self):
            return True
        try:
            note = self._collection.look(self._note.commit)
        except CollectionGoneError as error:
            self._lost = str(error)
            return False
        except RecallServerError:
            return True  # `away` says why
        self._lost = None
        return note is not None and note.whole and note.same_as(self._note)

    def descriptors(self, rows: Rows) -> Descriptors:
        """Rows [k] -> descriptors [k, E] float32, in half precision, from the gallery."""
        if not len(rows):
            return np.empty((0, self._collection.owner.size), dtype=np.float32)
        return halved(self._take(rows))

    def _answer(self, asked: Asked) -> None:
        """Fill rows and scores of what is asked for.

        Raises:
            ConfigurationError: more candidates than Milvus gives.
            RecallServerError: Milvus cannot be reached, or cannot do it.
        """
        if min(asked.k, asked.possible) > MOST_ROWS:
            raise ConfigurationError(f"Milvus finds {MOST_ROWS:,} candidates at most, not {asked.k:,}; ask for fewer")
        only = expression(self._photos, self._note.commit, asked.selection)
        wanted = min(asked.k + _TIE_MARGIN, asked.possible, MOST_ROWS)
        waiting = np.arange(len(asked.queries))
        while len(waiting):
            found = self._nearest(asked.queries[waiting], wanted, only, math.ceil(len(self) / asked.possible))
            left = []
            for number, (keys, scores) in zip(waiting.tolist(), found, strict=True):
                if not self._settle(asked, number, keys, scores, whole=len(keys) < wanted or wanted == MOST_ROWS):
                    left.append(number)
            waiting, wanted = np.array(left, dtype=np.int64), min(4 * wanted, MOST_ROWS)

    def _settle(self, asked: Asked, number: int, keys: Rows, scores: Descriptors, *, whole: bool) -> bool:
        """Fill in one query; False if more has to be asked for: a tie was cut, or other versions' photos came first."""
        rows = self._photos.rows_of(keys)
        last = scores[-1] if len(scores) else -np.inf
        rows, scores = rows[rows >= 0], scores[rows >= 0]
        enough = min(asked.k, asked.possible)
        if not whole and (len(rows) < enough or (len(rows) < asked.possible and scores[enough - 1] <= last)):
            return False
        order = np.lexsort((asked.ties[rows], -scores))[: asked.k]
        asked.rows[number, : len(order)] = rows[order]
        asked.scores[number, : len(order)] = np.minimum(scores[order], 1.0)
        return True

    def _nearest(self, queries: Descriptors, wanted: int, only: str, thinner: int) -> list[tuple[Rows, Descriptors]]:
        """Milvus's own answer for each query: keys and scores, best first.

        A filter that leaves one photo of `thinner` thins graph and lists, so that more of them is looked at.
        """
        parameters: dict[str, Any] = {
            "hnsw": {"ef": max(wanted, min(max(_LEAST_EF, wanted) * thinner, _MOST_EF))},
            "ivf": {"nprobe": min(_PROBES * thinner, _MOST_PROBES)},
        }.get(self._collection.kind, {})
        answer = self._collection.server.call(
            "search",
            self._collection.name,
            queries.tolist(),
            filter=only,
            limit=wanted,
            anns_field="descriptor",
            search_params={"metric_type": "IP", "params": parameters},
            consistency_level="Bounded",
            seconds=SEARCH_S,
            purpose="search",
        )
        return [
            (
                np.array([hit["id"] for hit in hits], dtype=np.int64),
                np.array([hit["distance"] for hit in hits], dtype=np.float32),
            )
            for hits in answer
        ]
