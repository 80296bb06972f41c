"""What one query costs, measured one sketch at a time as a service sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from model.config import ExpansionRule
from model.networks.network import Network
from model.ranking.expansion import expand
from model.types import Encoding

_REPEATS = 5
_ENOUGH_SECONDS = 10.0


@torch.inference_mode()
def time_queries(
    network: Network,
    images: Tensor,
    photos: Encoding,
    candidates: Sequence[int],
    *,
    expansion: ExpansionRule = ExpansionRule(),
    exhaustive: bool,
) -> dict[str, float]:
    """Median milliseconds of a query's steps over a few sketches, after a warm-up.

    Args:
        network: on its device.
        images: [n, 3, S, S] prepared sketches to measure with; reading the files is not counted.
        photos: P encodings on the CPU, as a gallery hands them over.
        candidates: depths at which the relation of k photos is measured.
        expansion: how the recall stage expands queries.
        exhaustive: also measure the relation of all P photos.

    Returns:
        "encode", "recall", and "relate_K" for each depth and "relate_all" where asked for.
    """
    descriptors = photos.descriptor.to(network.device)
    sketches = network.encode_sketch(images)
    depths = {f"relate_{k}": min(k, len(photos)) for k in candidates}
    if exhaustive:
        depths["relate_all"] = len(photos)

    def recall(row: int) -> None:
        query = sketches.descriptor[row].float()
        if expansion.neighbours:
            first = (descriptors @ query).topk(min(expansion.neighbours, len(photos))).indices
            query = expand(query[None], descriptors[first][None], expansion.weight)[0]
        (descriptors @ query).topk(min(max(candidates, default=1), len(photos)))

    def relate(depth: int) -> Callable[[int], None]:
        some = photos[:depth]  # which photos does not matter to the cost

        def step(row: int) -> None:
            network.relate(sketches[row : row + 1], some)

        return step

    steps: dict[str, Callable[[int], object]] = {
        "encode": lambda row: network.encode_sketch(images[row : row + 1]),
        "recall": recall,
    }
    steps |= {name: relate(depth) for name, depth in depths.items()}
    return {name: _median_ms(step, len(images), network.device) for name, step in steps.items()}


def _median_ms(step: Callable[[int], object], rows: int, device: torch.device) -> float:
    times: list[float] = []
    began = time.perf_counter()
    for repeat in range(_REPEATS + 1):
        start = time.perf_counter()
        step(repeat % rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1000)
        if repeat and time.perf_counter() - began > _ENOUGH_SECONDS:
            break
    return median(times[1:])
