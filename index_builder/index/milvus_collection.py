"""A collection in Milvus: the photos of all versions of one generation of a gallery, and notes of which are whole.

Each photo is a row with the time at which it was added and the commit that removed it, so one filter makes a version of
the collection.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from index_builder.gallery_errors import RecallServerError
from index_builder.index.candidate_index import Rows
from index_builder.index.milvus_filters import ALIVE
from index_builder.index.milvus_notes import REPLACED, Note, Owner
from index_builder.index.milvus_server import CHANGE_S, SEARCH_S, MilvusServer, Purpose

IndexKind = Literal["flat", "hnsw", "ivf"]
MOST_ROWS = 16_384
"""Rows that Milvus gives in one answer."""
HNSW_FROM = 50_000
"""Photos from which "auto" builds a graph; below, comparing with all of them is fast and exact."""
_LISTED_AT_ONCE = 14_000  # on average; keys are evenly spread, so the most are not many more
NAMED_AT_ONCE = 1000
"""Keys that one question names; more are listed with all others."""
_SEEN_EVERY_S = 3600.0
_MADE_S = 5.0
_FIELDS = ("id", "labels", "taken", "shape", "format", "added", "removed", "descriptor")


class Collection:
    """One generation of a gallery in Milvus.

    Args:
        server: where it is.
        owner: whose it is.
        kind: of its index.
    """

    def __init__(self, server: MilvusServer, owner: Owner, kind: IndexKind) -> None:
        self.server, self.owner, self.kind = server, owner, kind
        self.alias = f"sketchseek_{hashlib.sha256(owner.gallery.encode()).hexdigest()[:16]}"
        self.name = f"{self.alias}_{owner.generation}_{kind}"

    def make_ready(self) -> None:
        """Create it, its index, and load it, each unless that was done; a killed process may have done a part."""
        call = self.server.call
        self._unless(
            "has_collection",
            lambda: call("create_collection", self.name, schema=_schema(self.owner.size), seconds=CHANGE_S),
        )
        self._unless("list_indexes", lambda: call("create_index", self.name, _index(self.kind), seconds=CHANGE_S))
        call("load_collection", self.name, seconds=CHANGE_S)

    def _unless(self, look: str, make: Callable[[], object]) -> None:
        """Make something unless it is there. Another process may make it at the same moment, and one of both fails."""
        if self.server.call(look, self.name, seconds=CHANGE_S):
            return
        try:
            make()
        except RecallServerError:
            until = time.monotonic() + _MADE_S
            while not self.server.call(look, self.name, seconds=CHANGE_S):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def notes(self) -> dict[int, Note]:
        """The notes by commit, with every one that was written before this call."""
        return self._notes(f"id < 0 and id > {-1 - REPLACED}", strictly=True)

    def look(self, commit: int) -> Note | None:
        """The note of a version that is being served, or None. If another collection replaced this one, this one stays.

        Raises:
            RecallServerError: Milvus does not answer.
            CollectionGoneError: it has lost the collection.
        """
        named = f"id in [{-1 - commit}, {-1 - REPLACED}]"
        notes = self._notes(named, strictly=False, purpose="look", seconds=SEARCH_S)
        replaced = notes.get(REPLACED)
        if replaced is not None and replaced.written < time.time() - _SEEN_EVERY_S:
            with contextlib.suppress(RecallServerError):  # the next look tries again
                self.write(replaced.now())
        return notes.get(commit)

    def write(self, note: Note) -> None:
        """Write a note, or write it anew."""
        self.put([note.row()])

    def put(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put rows there; those of the same id are replaced."""
        self.server.call("upsert", self.name, list(rows), seconds=CHANGE_S)

    def count(self, expression: str) -> int:
        """How many rows an expression lets through, of all that were put there before this call."""
        return int(self._query(f"id >= 0 and {expression}", ["count(*)"], strictly=True)[0]["count(*)"])

    def keys(self) -> tuple[Rows, Rows]:
        """The keys of all photos of all versions, and the commits that removed them, both [m] int64."""
        total = self.count("removed > 0")
        parts = max(1, math.ceil(total / _LISTED_AT_ONCE))
        bounds = [2**63 * part // parts for part in range(parts + 1)]
        return _pairs(row for first, end in itertools.pairwise(bounds) for row in self._between(first, end - 1))

    def keys_among(self, named: Rows) -> tuple[Rows, Rows]:
        """As `keys`, but only of those that are named; `NAMED_AT_ONCE` at most."""
        return _pairs(self._query(_named(named), ["id", "removed"], strictly=True))

    def remove(self, keys: Rows, commit: int) -> None:
        """Say of photos that a commit removed them, unless there is a later one; versions before it still have them.

        A later one that is announced meanwhile may have looked before, and may have one of these photos again. So what
        was just said is taken back. A photo too many costs a search time, and no more.
        """
        for start in range(0, len(keys), NAMED_AT_ONCE):
            if max(self.notes()) > commit:
                return
            found = self._query(_named(keys[start : start + NAMED_AT_ONCE]), list(_FIELDS), strictly=True)
            rows = [{name: row[name] for name in _FIELDS} for row in found if row["removed"] == ALIVE]
            if not rows:
                continue
            self.put([{**row, "removed": commit} for row in rows])
            if max(self.notes()) > commit:
                self.put(rows)
                return

    def forget(self, oldest: int) -> None:
        """Delete notes and photos that only versions before a commit have, which no longer exists.

        Notes first: one that killed this halfway leaves no version that is said to be whole and is not.
        """
        self.server.call("delete", self.name, filter=f"id < 0 and id > {-1 - oldest}", seconds=CHANGE_S)
        self.server.call("delete", self.name, filter=f"id >= 0 and removed <= {oldest}", seconds=CHANGE_S)

    def flush(self) -> None:
        """Have what was put there written, so that the index is built over it."""
        self.server.call("flush", self.name, seconds=10 * CHANGE_S)

    def take_alias(self) -> None:
        """Let the gallery's alias stand for this collection, unless it stands for a later generation."""
        call = self.server.call
        try:
            now = call("describe_alias", self.alias, seconds=CHANGE_S)["collection_name"]
        except RecallServerError:
            try:
                call("create_alias", self.name, self.alias, seconds=CHANGE_S)
                return
            except RecallServerError:  # another filler may have been faster
                now = call("describe_alias", self.alias, seconds=CHANGE_S)["collection_name"]
        if now != self.name and self._generation(now) <= self.owner.generation:
            call("alter_alias", self.name, self.alias, seconds=CHANGE_S)

    def drop_replaced(self, keep_s: float) -> None:
        """Drop the gallery's other collections, of this generation and before, that were replaced `keep_s` seconds ago.

        The age counts from when this was first called for them, and from when they were last seen in use: whoever
        replaces one may serve it still, and so may a copy of the gallery that was not rebuilt.
        """
        for name in self.server.call("list_collections", seconds=CHANGE_S):
            ours = name.startswith(f"{self.alias}_") and self._generation(name) <= self.owner.generation
            if ours and name != self.name:
                other = Collection(self.server, self.owner, self.kind)
                other.name = name
                with contextlib.suppress(RecallServerError):  # the next version tries again
                    other._drop_if_replaced(time.time() - keep_s)

    def _drop_if_replaced(self, before: float) -> None:
        notes = self.notes()
        if not notes:
            return  # somebody begins to fill it
        latest = max(notes.values(), key=lambda note: note.written)
        replaced = self._notes(f"id == {-1 - REPLACED}", strictly=True).get(REPLACED)
        if replaced is None or replaced.written < latest.written:  # the latter: it was used again since
            self.write(latest.now(commit=REPLACED))
        elif replaced.written < before:
            self.server.call("drop_collection", self.name, seconds=CHANGE_S)

    def _generation(self, name: str) -> int:
        middle = name.removeprefix(f"{self.alias}_").partition("_")[0]
        return int(middle) if middle.isdecimal() else 0

    def _notes(
        self, expression: str, *, strictly: bool, purpose: Purpose = "change", seconds: float = CHANGE_S
    ) -> dict[int, Note]:
        fields = ["id", "labels"]
        rows = self._query(expression, fields, strictly=strictly, purpose=purpose, seconds=seconds, limit=MOST_ROWS)
        return {note.commit: note for note in map(Note.read, rows)}

    def _between(self, first: int, last: int) -> Iterator[dict[str, Any]]:
        rows = self._query(f"id >= {first} and id <= {last}", ["id", "removed"], strictly=True, limit=MOST_ROWS)
        if len(rows) < MOST_ROWS or first == last:
            yield from rows
            return
        middle = (first + last) // 2
        yield from self._between(first, middle)
        yield from self._between(middle + 1, last)

    def _query(
        self, expression: str, fields: list[str], *, strictly: bool, seconds: float = CHANGE_S, **options: Any
    ) -> list[dict[str, Any]]:
        level = "Strong" if strictly else "Bounded"
        found = self.server.call(
            "query",
            self.name,
            filter=expression,
            output_fields=fields,
            consistency_level=level,
            seconds=seconds,
            **options,
        )
        return list(found)


def _named(keys: Rows) -> str:
    return f"id in [{', '.join(map(str, keys.tolist()))}]"


def _pairs(rows: Iterable[dict[str, Any]]) -> tuple[Rows, Rows]:
    pairs = np.array([(row["id"], row["removed"]) for row in rows], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _schema(size: int) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("labels", DataType.ARRAY, element_type=DataType.INT64, max_capacity=4096)
    for name in ("taken", "added", "removed"):
        schema.add_field(name, DataType.INT64)
    for name in ("shape", "format"):
        schema.add_field(name, DataType.INT8)
    schema.add_field("descriptor", DataType.FLOAT_VECTOR, dim=size)
    return schema


def _index(kind: IndexKind) -> Any:
    from pymilvus import MilvusClient

    kinds: dict[IndexKind, tuple[str, dict[str, int]]] = {
        "flat": ("FLAT", {}),
        "hnsw": ("HNSW", {"M": 16, "efConstruction": 200}),
        "ivf": ("IVF_FLAT", {"nlist": 1024}),
    }
    name, parameters = kinds[kind]
    index = MilvusClient.prepare_index_params()
    index.add_index("descriptor", index_type=name, metric_type="IP", params=parameters)
    return index
