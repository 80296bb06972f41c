"""Tries FAISS on a card; run as a process of its own, since FAISS ends the process where CUDA fails."""

from __future__ import annotations

import sys

import faiss
import numpy as np

SIZE, PHOTOS = 16, 64


def main(card: int) -> None:
    """Make and search a tiny index on a card, of floats and of codes.

    Args:
        card: its number.

    Raises:
        RuntimeError: it gives a wrong answer, or FAISS does not find it.
    """
    photos = np.random.default_rng(0).normal(size=(PHOTOS, SIZE)).astype(np.float32)
    codes = np.arange(PHOTOS, dtype=np.uint8)[:, None].repeat(SIZE // 8, axis=1)
    if card >= faiss.get_num_gpus():
        raise RuntimeError(f"it finds {faiss.get_num_gpus()} GPUs only")
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(1_000_000)
    resources.setPinnedMemory(0)
    config = faiss.GpuIndexFlatConfig()
    config.device, config.useFloat16 = card, True
    floats = faiss.GpuIndexFlat(resources, SIZE, faiss.METRIC_INNER_PRODUCT, config)
    floats.add(photos)
    binary_config = faiss.GpuIndexBinaryFlatConfig()
    binary_config.device = card
    exact = faiss.IndexBinaryFlat(SIZE)
    exact.add(codes)
    binary = faiss.GpuIndexBinaryFlat(resources, exact, binary_config)
    best = int((photos @ photos[3]).argmax())
    if int(floats.search(photos[3:4], 1)[1][0, 0]) != best or int(binary.search(codes[5:6], 1)[1][0, 0]) != 5:
        raise RuntimeError("it gives wrong answers")


if __name__ == "__main__":
    main(int(sys.argv[1]))
