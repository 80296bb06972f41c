"""The costly half of the rerank stage: sketches of several queries are related to their candidates together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from app.search.chunks import Chunks
from app.search.query_and_answer import Logits, Rows
from model.types import Encoding

Relate = Callable[[Encoding, Encoding, Sequence[int]], Tensor]
"""Q sketches, P photos, and how many of the photos belong to each sketch, in order -> logits [P]."""


def relate_in_chunks(
    sketches: Sequence[Encoding],
    rows: Sequence[Rows],
    *,
    tokens: Callable[[Rows], Encoding],
    relate: Relate,
    chunks: Chunks,
) -> list[Logits]:
    """Relation logits of sketches, each with photos of its own.

    The photos are concatenated, so that one step reads, dequantises and relates those of several sketches. A step may
    begin and end in the middle of a sketch's photos.

    Args:
        sketches: Q encodings of length 1.
        rows: Q times rows [C] of photos; C may differ, and may be 0.
        tokens: rows [C] -> the photos' encodings.
        relate: see `Relate`.
        chunks: pairs in one step.

    Returns:
        Q times logits [C] float64.
    """
    if not sketches:
        return []
    every, together = np.concatenate(rows), Encoding.concatenate(list(sketches))
    ends = np.cumsum([len(own) for own in rows])
    starts = np.concatenate([[0], ends[:-1]])

    def related(part: slice) -> Tensor:
        counts = np.clip(np.minimum(ends, part.stop) - np.maximum(starts, part.start), 0, None)
        first, last = np.flatnonzero(counts)[[0, -1]].tolist()
        some = slice(first, last + 1)
        return relate(together[some], tokens(every[part]), counts[some].tolist())

    parts = chunks.each(related, len(every))
    logits = torch.cat(parts).double().cpu().numpy() if parts else np.empty(0)
    return np.split(logits, ends[:-1])
