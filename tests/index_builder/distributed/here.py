"""The stages of a cluster in this process, for what needs no cluster."""

from __future__ import annotations

import copy
import sys
from itertools import islice
from types import SimpleNamespace

import pytest

from index_builder.distributed.arrival import EncodingThere, ReadingThere
from index_builder.distributed.cluster import ClusterError
from index_builder.distributed.fitness import fingerprint, seen_here
from index_builder.distributed.messages import received, sent
from index_builder.distributed.ray_engine import Chunks, _Run, _settled
from index_builder.distributed.stages import Reading


class RunHere(_Run):
    """As `_Run`, without Ray. `there` is told of each chunk before the first stage gets it."""

    def __init__(self, task, there):
        self._task, self._there, self._seen = task, there, seen_here(task.folders)

    def results(self, chunks, at_once="all"):
        del at_once
        task = self._task
        stage = Reading(task.folders, task.limits, self._seen, task.network.preprocess)
        reading = ReadingThere(fingerprint(), sent(stage), task.known)
        options = {"device": "cpu", "dtype": "float32", "threads": 1, "batch_size": 4}
        options |= {"dataset": task.dataset, "shape": task.shape}
        network = copy.deepcopy(task.network)
        encoding = EncodingThere(fingerprint=fingerprint(), options=sent(options), network=network)
        for number, files in list(chunks.items()):
            self._there(number)
            row = encoding(reading({"chunk": number, "data": sent(files)}))
            self._there(None)
            if row["failed"]:
                raise ClusterError(f"{row['node']}: {row['failed']}")
            yield row["chunk"], received(row["data"])


class EngineHere:
    """Runs the stages on chunks of four files. `between` may do mischief with what a chunk became.

    `there` is called with the number of a chunk when a worker begins it, and with None when it is done.
    """

    def __init__(self, between=lambda results: results, there=lambda _: None):
        self.between, self.there = between, there

    def encode(self, jobs, task):
        files = iter(jobs)
        chunks: Chunks = dict(enumerate(iter(lambda: list(islice(files, 4)), [])))
        yield from self.between(_settled(RunHere(task, self.there), chunks))


@pytest.fixture
def ray_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
