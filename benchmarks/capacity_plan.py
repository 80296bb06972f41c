"""From costs and assumptions to machines: what fits, how long a search takes, how many machines answer in time.

Nothing is measured here. What is worked out beyond what was measured is said in `benchmarks/capacity.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from costs import Costs
from queue_simulation import Replicas, Simulated, simulate

from index_builder.index.flat_and_ivf import lists_for
from index_builder.index.settings import TRAINING_PER_LIST

_MOST_SHARDS = 4096
_GIB = 2**30
_FEWEST, _MOST = 1e3, 1e11  # photos of the galleries that are looked at
_STEPS = 50  # between ten times as many photos, where a gallery is looked for step by step


def _assumed(default: Any, told: str) -> Any:
    return field(default=default, metadata={"told": told})


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted. Each is an option of the script, and a line of its output."""

    cores: int = _assumed(0, "cores of a machine")
    memory_gib: float = _assumed(0.0, "memory of a machine, GiB")
    memory_share: float = _assumed(0.8, "share of the memory that services may fill; the system has the rest")
    processes: int = _assumed(0, "services on a machine, each with its own copy of the index")
    versions: int = _assumed(2, "versions of the gallery in memory while it changes; 1 if it never changes")
    token_cache_mb: float = _assumed(512.0, "token cache of a service, MB; searches find nothing in it")
    batch_limit: int = _assumed(8, "most searches in a batch, as SKETCHSEEK_BATCH_LIMIT")
    spread: float = _assumed(0.2, "a batch's time varies by this share of its mean (gamma distributed)")
    front: float = _assumed(1.0, "share of decoding and HTTP on the device thread's core; 0: on other cores")
    answer_ms: float = _assumed(1000.0, "within this many ms, 99 of 100 searches are to be answered")
    given: float = _assumed(0.8, "services get at most this share of the searches a second that they could do")
    merge_ms: float = _assumed(5.0, "network and merging of a search that several machines share, ms")
    old_versions: float = _assumed(2.0, "times the gallery's size on disk, for versions that were replaced")
    arrivals: int = _assumed(20_000, "searches in one simulation, which arrive as a Poisson process")
    cell: int = _assumed(
        32, "services simulated together; more are as many such cells, each with its share of searches"
    )
    seed: int = _assumed(0, "of the simulation")

    @staticmethod
    def told() -> dict[str, str]:
        """Name -> what it means."""
        return {one.name: one.metadata["told"] for one in fields(Assumptions)}


@dataclass(frozen=True)
class Plan:
    """How one kind of recall serves so many photos and searches.

    Attributes:
        kind: of recall.
        shards: machines that share the photos of one group; 1: every machine has them all.
        groups: of machines that each answer whole searches.
        simulated: how long searches took.
        memory_gib: that a machine's services take at most.
    """

    kind: str
    shards: int
    groups: int
    simulated: Simulated
    memory_gib: float

    @property
    def machines(self) -> int:
        """All of them."""
        return self.shards * self.groups


@dataclass(frozen=True)
class Planner:
    """Works out plans from what was measured and what is assumed."""

    costs: Costs
    assumed: Assumptions

    def memory(self, kind: str, photos: float) -> float:
        """Bytes that the services of a machine take at most, with so many photos on it."""
        served = self._served(kind, photos)
        opening = max(served, photos * self.costs.opening_bytes)
        return self.assumed.processes * (self._base + (self.assumed.versions - 1) * served + opening)

    def _served(self, kind: str, photos: float) -> float:
        """Bytes of an opened gallery in one service."""
        return photos * self.costs.table_bytes + self.costs.index[kind].memory(photos)

    @property
    def _base(self) -> float:
        """Bytes of one service without photos."""
        return self.costs.process_bytes + 1e6 * self.assumed.token_cache_mb

    @property
    def room(self) -> float:
        """Bytes that services may take on a machine."""
        return self.assumed.memory_gib * _GIB * self.assumed.memory_share

    def search_ms(self, kind: str, photos: float, batch: int) -> dict[str, float]:
        """Milliseconds of each stage of a batch on a machine that has so many photos."""
        costs, assumed = self.costs, self.assumed
        index = costs.index[kind]
        recall = [index.ms(photos, place, size) for place, size in enumerate(costs.batches)]
        token_reads, exact_reads = self._from_disk(kind, photos)
        front = costs.decode_ms + costs.http_ms
        return {
            "front": batch * front * assumed.front,
            "encode": costs.between(costs.encode_ms, batch),
            "recall": costs.between(costs.recall_ms, batch) + costs.passes * costs.between(recall, batch),
            "rerank": costs.between(costs.rerank_ms, batch),
            "disk": batch * (token_reads + costs.passes * exact_reads),
        }

    def _from_disk(self, kind: str, photos: float) -> tuple[float, float]:
        """What one search waits for the disk: its candidates' tokens, and the shortlist of one look-up."""
        costs, index = self.costs, self.costs.index[kind]
        stored = costs.record_bytes[str(costs.bits)] + (costs.exact_bytes if index.shortlist else 0)
        taken = self.assumed.processes * (self._base + self._served(kind, photos))  # while nothing is being opened
        left = self.assumed.memory_gib * _GIB - taken
        missed = 1 - min(1.0, max(0.0, left) / (photos * stored))
        tokens = missed * costs.candidates * costs.token_disk_ms
        return tokens, missed * index.shortlist * costs.exact_disk_ms

    def alone_ms(self, kind: str, photos: float) -> float:
        """Of a search that comes alone to one machine."""
        apart = (1 - self.assumed.front) * (self.costs.decode_ms + self.costs.http_ms)
        return apart + sum(self.search_ms(kind, photos, 1).values())

    def most_photos(self, fine: Callable[[float], bool]) -> int:
        """The largest gallery for which something still holds, between 1 000 photos and 100 000 million."""
        low, high = _FEWEST, _MOST
        if not fine(low):
            return 0
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if fine(middle) else (low, middle)
        return int(low)

    def by_memory(self, kind: str) -> int:
        """Photos that one machine holds."""
        return self.most_photos(lambda photos: self.memory(kind, photos) <= self.room)

    def by_time(self, kind: str) -> int:
        """Photos among which one machine answers a search that comes alone in time, if memory were no matter."""
        return self.most_photos(lambda photos: self.alone_ms(kind, photos) <= self.assumed.answer_ms)

    def saves_from(self, kind: str, than: str, share: float = 0.1) -> int | None:
        """Photos from which one kind spares so much of the time of another's search; None if it never does."""
        for step in range(int(_STEPS * math.log10(_MOST / _FEWEST))):
            photos = _FEWEST * 10 ** (step / _STEPS)
            if self.alone_ms(kind, photos) <= (1 - share) * self.alone_ms(than, photos):
                return int(photos)
        return None

    def plan(self, kind: str, photos: int, per_s: float) -> Plan | None:
        """The fewest machines of this kind that answer in time; None if no number of them does."""
        assumed, best = self.assumed, None
        for shards in self._shards(kind, photos):
            replicas = self._replicas(kind, photos / shards, shards)
            apart = self._apart(shards)
            if apart + replicas.batch_ms[0] > assumed.answer_ms:
                continue
            fewest = max(1, math.ceil(per_s / (assumed.given * replicas.most_per_s)))
            most = 8 * fewest + 8 if best is None else (best.machines - 1) // shards
            found = self._fewest(replicas, per_s, fewest, most, assumed.answer_ms - apart)
            if found is not None:
                best = Plan(kind, shards, *found, self.memory(kind, photos / shards) / _GIB)
        return best

    def latency(self, plan: Plan, share: float) -> float:
        """Milliseconds within which `share` percent of a plan's searches are answered."""
        return self._apart(plan.shards) + plan.simulated.percentile(share)

    def _apart(self, shards: int) -> float:
        """What a search takes beside its turn on the device."""
        front = (1 - self.assumed.front) * (self.costs.decode_ms + self.costs.http_ms)
        return front + (self.assumed.merge_ms if shards > 1 else 0.0)

    def _shards(self, kind: str, photos: int) -> list[int]:
        """Numbers of machines that may share the photos: as many as memory needs, and more, by a quarter each."""
        tried = [1]
        while tried[-1] < _MOST_SHARDS:
            tried.append(max(tried[-1] + 1, math.floor(1.25 * tried[-1])))
        return [shards for shards in tried if self.memory(kind, photos / shards) <= self.room]

    def _fewest(
        self, group: Replicas, per_s: float, fewest: int, most: int, within_ms: float
    ) -> tuple[int, Simulated] | None:
        """The fewest groups that answer 99 of 100 searches in time, within one in fifty; None if `most` do not."""
        if fewest > most:
            return None
        for groups in (fewest, most):
            found = self._simulate(group, groups, per_s)
            if found.percentile(99) <= within_ms:
                break
        else:
            return None
        enough = groups, found
        while enough[0] - fewest > max(1, fewest // 50):
            middle = (fewest + enough[0]) // 2
            found = self._simulate(group, middle, per_s)
            if found.percentile(99) <= within_ms:
                enough = middle, found
            else:
                fewest = middle
        return enough

    def _simulate(self, group: Replicas, groups: int, per_s: float) -> Simulated:
        """Searches of so many groups; where there are many, of a cell of them, whose searches wait a little longer."""
        every = group.count * groups
        some = min(every, max(self.assumed.cell, group.count))
        return simulate(replace(group, count=some), per_s * some / every, self.assumed.arrivals, self.assumed.seed)

    def _replicas(self, kind: str, photos: float, shards: int) -> Replicas:
        """The services of one group, whose shards move together."""
        assumed = self.assumed
        batch_ms = [sum(self.search_ms(kind, photos, size).values()) for size in range(1, assumed.batch_limit + 1)]
        return Replicas(assumed.processes, batch_ms, assumed.spread, shards)

    def storage(self, photos: int, bits: int, kind: str = "flat") -> float:
        """Bytes on disk of one copy of a gallery, with what the kind of recall keeps beside it."""
        costs = self.costs
        beside = {"flat": 0.0, "hash": costs.exact_bytes}.get(kind, costs.index[kind].photo_bytes)
        return photos * (self.assumed.old_versions * costs.disk_bytes[str(bits)] + beside)

    def build_hours(self, photos: int) -> float:
        """Of one machine that does nothing else and whose cores are all at work: the steps overlap."""
        costs = self.costs
        ms = costs.decode_photo_ms + costs.encode_photo_ms + costs.commit_ms
        return photos * ms / self.assumed.cores / 3.6e6

    def index_hours(self, photos: float) -> float:
        """Of making an IVF index on one core: training on some photos, then comparing all photos to all lists."""
        lists = lists_for(int(photos))
        return lists * (lists * TRAINING_PER_LIST * self.costs.train_ns + photos * self.costs.add_ns) / 3.6e12
