"""What the stages of a search, a build and a photo cost on one machine, as plain values that can be kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from index_builder.index.flat_and_ivf import lists_for

KINDS = ("flat", "ivf", "hash")


@dataclass(frozen=True)
class IndexCost:
    """One kind of recall: linear in the photos that it looks through and in the lists that it chooses from.

    Attributes:
        fixed_ms: of a batch, for each measured size of a batch.
        photo_ns: of one photo that is looked through, for one search of such a batch.
        list_ns: of one list that is compared, the same; 0 without lists.
        looked_at: share of the photos that are looked through.
        photo_bytes: in memory.
        list_bytes: in memory.
        shortlist: photos that are scored by descriptors on disk.
        photos: how many there were when it was measured.
        found: share of the exact first ones that it found then.
    """

    fixed_ms: Sequence[float]
    photo_ns: Sequence[float]
    list_ns: float
    looked_at: float
    photo_bytes: float
    list_bytes: float
    shortlist: int
    photos: int
    found: float

    def ms(self, photos: float, place: int, batch: int) -> float:
        """Of a batch that was measured as the `place`-th, among so many photos."""
        lists = lists_for(int(photos)) if self.list_ns else 0
        each = photos * self.looked_at * self.photo_ns[place] + lists * self.list_ns
        return self.fixed_ms[place] + batch * each / 1e6

    def memory(self, photos: float) -> float:
        """Bytes."""
        return photos * self.photo_bytes + (lists_for(int(photos)) * self.list_bytes if self.list_bytes else 0)


@dataclass(frozen=True)
class Costs:
    """What was measured.

    Attributes:
        batches: sizes of batches that were measured, from 1 upwards. Lists below have a value for each of them.
        decode_ms, http_ms: of one search: its sketch decoded, and everything else around the stages.
        encode_ms, recall_ms, rerank_ms: of a whole batch; recall among hardly any photos, tokens from memory.
        candidates: of one search.
        token_disk_ms: what reading one candidate's tokens from the disk adds.
        exact_disk_ms: what reading one descriptor of a shortlist from the disk adds.
        passes: how often one search looks through the index.
        index: kind -> its cost.
        process_bytes: memory of a service without photos.
        table_bytes: of one photo in memory, beside the index.
        opening_bytes: of one photo, the most that opening a gallery takes at a time.
        disk_bytes: of one photo, by the bits of a token's values.
        exact_bytes: of one photo on disk, for hash codes.
        record_bytes: of one photo's tokens, by their bits.
        bits: that this checkpoint's galleries are made with.
        decode_photo_ms, encode_photo_ms, commit_ms: of one photo in a build, on one core.
        build_ms: of one photo in a whole build, of all cores together, measured as a check.
        train_ns: of IVF, for one list and one training photo.
        add_ns: of IVF, for one list and one photo.
    """

    batches: Sequence[int]
    decode_ms: float
    http_ms: float
    encode_ms: Sequence[float]
    recall_ms: Sequence[float]
    rerank_ms: Sequence[float]
    candidates: int
    token_disk_ms: float
    exact_disk_ms: float
    passes: int
    index: dict[str, IndexCost]
    process_bytes: float
    table_bytes: float
    opening_bytes: float
    disk_bytes: dict[str, float]
    exact_bytes: float
    record_bytes: dict[str, float]
    bits: int
    decode_photo_ms: float
    encode_photo_ms: float
    commit_ms: float
    build_ms: float
    train_ns: float
    add_ns: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Costs:
        """What `to_json` gave."""
        index = {kind: IndexCost(**one) for kind, one in values["index"].items()}
        return Costs(**{**values, "index": index})

    def between(self, values: Sequence[float], batch: int) -> float:
        """The value for a batch of any size: between measured ones on a line, above them on the last two's line."""
        sizes = list(self.batches)
        if batch <= sizes[-1] or len(sizes) == 1:
            return float(np.interp(batch, sizes, values)) * (batch / sizes[-1] if batch > sizes[-1] else 1)
        slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
        return values[-1] + max(0.0, slope) * (batch - sizes[-1])
