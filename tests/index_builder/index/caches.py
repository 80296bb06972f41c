"""What the tests of cached indices share."""

from __future__ import annotations

import numpy as np

from index_builder.index.cache_note import Origin
from index_builder.index.hash_codes import HashIndex
from index_builder.index.opening import open_recall
from index_builder.index.settings import RecallSettings

HASH = RecallSettings(kind="hash", hash_bits=32, shortlist=50)
IVF = RecallSettings(kind="ivf", probes=1.0)


def unit(count, size=32, seed=0):
    """Unit vectors around a few centres, most of their spread in few directions."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    centres = fixed.normal(size=(12, size)) @ np.diag(1 / np.sqrt(1 + np.arange(size)))
    values = centres[rng.integers(0, 12, count)] + 0.3 * rng.normal(size=(count, size)) + 0.2
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def opened(folder, version, descriptors, settings=HASH, learnt=None, *, source="s", checkpoint="c"):
    asked = []

    def read():
        asked.append(version)
        return descriptors

    index, cached = open_recall(
        folder,
        Origin(version, source, checkpoint),
        settings=settings,
        photos=len(descriptors),
        read=read,
        learnt=learnt,
    )
    assert cached == (not asked)
    return index, cached


def digest_of(*arguments, **changes):
    index, cached = opened(*arguments, **changes)
    assert not cached
    assert isinstance(index, HashIndex)
    return index.hasher.digest
