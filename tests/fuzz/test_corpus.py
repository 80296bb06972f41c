"""What once broke, and what the fuzzer starts from, is taken or refused as it should be.

`make fuzz-inputs` looks for more; see tests/fuzz/__main__.py.
"""

import time
from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
BROKE = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", BROKE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_once(path):
    started = time.process_time()
    TARGETS[path.parent.name](path.read_bytes())
    assert time.process_time() - started < 10


@pytest.mark.parametrize("name", TARGETS)
def test_every_door_stands_what_the_fuzzer_starts_from(name):
    """Also a few bytes of each seed flipped, so that this fails where a target checks nothing at all."""
    for seed in seeds(name)[:40]:
        for data in (seed, seed[: len(seed) // 2], seed[:1] + bytes(reversed(seed[1:])), b""):
            TARGETS[name](data)
