"""The stages of a cluster in this process, for what needs no cluster."""

from __future__ import annotations

import copy
import sys
from itertools import islice
from types import SimpleNamespace

import pytest

from index_builder.distributed.stages import Encoding, Reading, received, sent


class EngineHere:
    """Runs the stages on chunks of four files. `between` may do mischief with what a chunk became."""

    def __init__(self, between=lambda results: results):
        self.between = between

    def encode(self, jobs, task):
        files, network = iter(jobs), copy.deepcopy(task.network)
        reading = Reading(task.folders, task.limits, task.network.preprocess, 2**28, task.known)
        encoding = Encoding(
            network=network,
            device="cpu",
            dtype="float32",
            threads=1,
            dataset=task.dataset,
            shape=task.shape,
            batch_size=4,
        )

        def results():
            for number, chunk in enumerate(iter(lambda: list(islice(files, 4)), [])):
                row = encoding(reading({"chunk": number, "data": sent(chunk)}))
                result = received(row["data"])
                if isinstance(result, Exception):
                    raise result
                yield result

        yield from self.between(results())


@pytest.fixture
def ray_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
