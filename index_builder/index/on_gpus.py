"""How each kind of index is put on GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from index_builder.index.faiss_search import load_faiss
from index_builder.index.gpu_choice import chosen_cards
from index_builder.index.gpu_index import GPU_MOST, GpuIndex
from index_builder.index.gpu_resources import SEARCH_BYTES, Card, held
from index_builder.index.settings import RecallSettings

_BLOCK = 16_384  # photos copied at once
_TILE = 2**19  # photos that FAISS compares with the queries at once, at most


def flat_on_gpus(index: Any, settings: RecallSettings) -> GpuIndex | None:
    """A flat index in half precision on GPUs, or None where there are none or none is wanted."""
    if not _wanted(index, settings):
        return None
    size, block = index.ntotal * (2 * index.d + 4), 6 * index.d * _BLOCK

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss = load_faiss()
        bounds = [index.ntotal * number // len(cards) for number in range(len(cards) + 1)]
        for number, card in enumerate(cards):
            start, end = bounds[number], bounds[number + 1]
            with held([card]):
                # FAISS makes room for each block anew, so that old and new memory are there at once.
                card.ask(2 * (size // len(cards)) + block + SEARCH_BYTES)
                config = faiss.GpuIndexFlatConfig()
                config.device, config.useFloat16, config.use_cuvs = card.number, True, False
                parts.append(faiss.GpuIndexFlat(card.resources, index.d, faiss.METRIC_INNER_PRODUCT, config))
            for at in range(start, end, _BLOCK):
                vectors = index.reconstruct_n(at, min(_BLOCK, end - at))
                with held([card]):
                    card.ask(SEARCH_BYTES)
                    parts[-1].add(vectors)
        if len(cards) > 1:
            threads = successive = True
            with held(cards):
                whole = faiss.IndexShards(index.d, threads, successive)
                for part in parts:
                    whole.add_shard(part)
                parts.append(whole)

    return GpuIndex(make, settings, 2 * size + block, per_query=8 * min(index.ntotal, _TILE))


def ivf_on_gpus(index: Any, settings: RecallSettings, probes: int) -> GpuIndex | None:
    """An IVF index on GPUs that looks at `probes` lists; None as `flat_on_gpus`, or for too many lists."""
    if probes > GPU_MOST or not _wanted(index, settings):
        return None
    size = index.ntotal * (2 * index.d + 8) + 4 * index.nlist * index.d

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss = load_faiss()
        options = faiss.GpuMultipleClonerOptions()
        options.use_cuvs = False
        options.shard = len(cards) > 1
        index.nprobe = probes  # the clone takes it over; the CPU's own searches name theirs
        with held(cards):
            for card in cards:
                card.ask(2 * (size // len(cards)) + SEARCH_BYTES)
            resources, numbers = [card.resources for card in cards], [card.number for card in cards]
            parts.append(faiss.index_cpu_to_gpu_multiple_py(resources, index, options, numbers))

    return GpuIndex(make, settings, 2 * size)


def codes_on_gpu(index: Any, settings: RecallSettings) -> GpuIndex | None:
    """Codes on the first GPU that has room for them; None as `flat_on_gpus`."""
    if not _wanted(index, settings):
        return None

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss, (card,) = load_faiss(), cards
        config = faiss.GpuIndexBinaryFlatConfig()
        config.device = card.number
        with held([card]):
            card.ask(index.ntotal * index.d // 8 + SEARCH_BYTES)
            parts.append(faiss.GpuIndexBinaryFlat(card.resources, index, config))

    return GpuIndex(make, settings, None)


def _wanted(index: Any, settings: RecallSettings) -> bool:
    """Whether an index belongs on a GPU.

    Raises:
        DeviceError: on one that is not there.
    """
    return bool(chosen_cards(settings)) and bool(index.ntotal)
