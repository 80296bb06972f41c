"""What one query costs, measured one sketch at a time as a service sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from statistics import median

import torch

from model.networks.network import Network
from model.ranking.expansion import expand
from model.score_rules import ExpansionRule
from model.types import Encoding

_REPEATS = 5
_ENOUGH_SECONDS = 10.0


@torch.inference_mode()
def time_queries(
    network: Network,
    encode: Callable[[int], Encoding],
    photos: Encoding,
    candidates: Sequence[int],
    *,
    expansion: ExpansionRule = ExpansionRule(),
    exhaustive: bool,
) -> dict[str, float]:
    """Median milliseconds of a query's steps over a few queries, after a warm-up.

    Args:
        network: on its device.
        encode: encodes one query, of any number; reading its file is not counted.
        photos: P encodings on the CPU, as a gallery hands them over.
        candidates: depths at which the relation of k photos is measured.
        expansion: how the recall stage expands queries.
        exhaustive: also measure the relation of all P photos.

    Returns:
        "encode", "recall", and "relate_K" for each depth and "relate_all" where asked for.
    """
    descriptors = photos.descriptor.to(network.device)
    query_encoding = encode(0)
    depths = {f"relate_{k}": min(k, len(photos)) for k in candidates}
    if exhaustive:
        depths["relate_all"] = len(photos)

    def recall() -> None:
        query = query_encoding.descriptor[0].float()
        if expansion.neighbours:
            first = (descriptors @ query).topk(min(expansion.neighbours, len(photos))).indices
            query = expand(query[None], descriptors[first][None], expansion.weight)[0]
        (descriptors @ query).topk(min(max(candidates, default=1), len(photos)))

    numbers = count()
    steps: dict[str, Callable[[], object]] = {"encode": lambda: encode(next(numbers)), "recall": recall}
    # which photos are related does not matter to the cost
    steps |= {name: partial(network.relate, query_encoding, photos[:depth]) for name, depth in depths.items()}
    return {name: _median_ms(step, network.device) for name, step in steps.items()}


def _median_ms(step: Callable[[], object], device: torch.device) -> float:
    times: list[float] = []
    began = time.perf_counter()
    for repeat in range(_REPEATS + 1):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1000)
        if repeat and time.perf_counter() - began > _ENOUGH_SECONDS:
            break
    return median(times[1:])
