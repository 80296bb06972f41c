"""What storing tokens quantised costs: bytes per photo against agreement with the float32 ranking.

    python benchmarks/tokens.py --photos DIR --sketches DIR [--checkpoint zse-lite | --preset zse-lite]

Both folders hold CATEGORY/*. Every sketch is related to every photo with tokens in float32, and again with tokens as
each encoding stores them; sketches are never stored. Printed per encoding: bytes per photo (descriptor and positions
included), the share of the float32 top 20 that is found again, how often the first stays first, Spearman's rank
correlation over all photos, the largest change of a relation score, and mean average precision beside float32's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from index_builder.quantise import TokenShape, dequantise, quantise
from model.checkpoint import load_checkpoint
from model.images import read_image
from model.network import Network
from model.preprocess import photo_tensor, sketch_tensor
from model.registry import build_network, preset
from model.types import Encoding

Scores = npt.NDArray[np.float64]
TOP = 20


def images(folder: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """A sample of `count` images with their categories, each category about equally often."""
    rng = np.random.default_rng(seed)
    categories = sorted(path for path in folder.iterdir() if path.is_dir())
    lists = [list(rng.permutation(sorted(category.iterdir()))) for category in categories]
    given = 0
    while given < count and any(lists):
        for category, files in zip(categories, lists, strict=True):
            if files and given < count:
                given += 1
                yield category.name, files.pop()


def encode(network: Network, chosen: list[tuple[str, Path]], *, photos: bool, batch: int = 16) -> Encoding:
    prepare, run = (photo_tensor, network.encode_photo) if photos else (sketch_tensor, network.encode_sketch)
    parts = []
    for start in range(0, len(chosen), batch):
        files = [path for _, path in chosen[start : start + batch]]
        side = network.preprocess.image_size
        tensors = [prepare(read_image(file, longest_side=side).image, network.preprocess) for file in files]
        parts.append(run(torch.stack(tensors).to(network.device, network.dtype)))
    return Encoding.concatenate(parts)


def int8_per_token(encoding: Encoding, shape: TokenShape) -> Encoding:
    """What the gallery stores."""
    stored = quantise(encoding, shape)
    parts = torch.from_numpy(stored.descriptor), torch.from_numpy(stored.records)
    return dequantise(*parts, shape)


def rounded(levels: int, dims: int | tuple[int, ...]) -> Callable[[Encoding, TokenShape], Encoding]:
    """Symmetric rounding to `levels` steps each side, one scale per slice over `dims`."""

    def apply(encoding: Encoding, _: TokenShape) -> Encoding:
        tokens = encoding.tokens.float()
        scale = (tokens.abs().amax(dim=dims, keepdim=True) / levels).clamp_min(1e-30)
        return replace(encoding, tokens=torch.round(tokens / scale).clamp(-levels, levels) * scale)

    return apply


def half(encoding: Encoding, _: TokenShape) -> Encoding:
    return replace(encoding, tokens=encoding.tokens.half().float())


def encodings(shape: TokenShape) -> dict[str, tuple[int, Callable[[Encoding, TokenShape], Encoding]]]:
    """Name -> bytes per photo and what comes back from storage."""
    values = shape.tokens * shape.width
    fixed = shape.descriptor * 4 + (shape.tokens - 1) * 2
    return {
        "float32": (fixed + 4 * values, lambda encoding, _: encoding),
        "float16": (fixed + 2 * values, half),
        "int8, scale per token (stored)": (shape.bytes_per_photo, int8_per_token),
        "int8, scale per photo": (fixed + values + 4, rounded(127, (1, 2))),
        "int4, scale per token": (fixed + values // 2 + 4 * shape.tokens, rounded(7, 2)),
    }


def logits(network: Network, sketches: Encoding, photos: Encoding) -> Scores:
    with torch.inference_mode():
        on_device = photos.to(network.device, network.dtype)
        rows: list[Tensor] = [network.relate(sketches[s : s + 1], on_device).logit for s in range(len(sketches))]
    return torch.cat(rows).double().cpu().numpy()


def mean_average_precision(scores: Scores, relevant: npt.NDArray[np.bool_]) -> float:
    values = []
    for row, hits in zip(scores, relevant, strict=True):
        ranked = hits[np.argsort(-row, kind="stable")]
        if ranked.any():
            precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
            values.append(float(precision[ranked].mean()))
    return float(np.mean(values))


def compare(exact: Scores, stored: Scores) -> tuple[float, float, float, float]:
    """Share of the top 20 found again, share of equal firsts, rank correlation, largest change of a relation score."""
    order, other = np.argsort(-exact, axis=1, kind="stable"), np.argsort(-stored, axis=1, kind="stable")
    top = np.mean([len(set(a[:TOP]) & set(b[:TOP])) / TOP for a, b in zip(order, other, strict=True)])
    first = np.mean(order[:, 0] == other[:, 0])
    ranks = [np.argsort(o, axis=1) for o in (order, other)]
    rho = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])
    change = np.abs(1 / (1 + np.exp(-exact)) - 1 / (1 + np.exp(-stored))).max()
    return float(top), float(first), float(rho), float(change)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--sketches", type=Path, required=True)
    parser.add_argument("--checkpoint", default="zse-lite")
    parser.add_argument("--preset", default="", help="take this preset with random weights instead of a checkpoint")
    parser.add_argument("--photo-count", type=int, default=500)
    parser.add_argument("--sketch-count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.preset:
        network = build_network(preset(arguments.preset), seed=0)
    else:
        network = load_checkpoint(arguments.checkpoint, dtype="float32")
    chosen = [
        list(images(folder, count, arguments.seed))
        for folder, count in ((arguments.photos, arguments.photo_count), (arguments.sketches, arguments.sketch_count))
    ]
    with torch.inference_mode():
        photos, sketches = encode(network, chosen[0], photos=True).to("cpu"), encode(network, chosen[1], photos=False)
    shape = TokenShape(network.photo_tokens, network.token_width, network.descriptor_size)
    relevant = np.array([[photo == sketch for photo, _ in chosen[0]] for sketch, _ in chosen[1]])
    print(f"{network.identity.name}: {len(photos)} photos, {len(sketches)} sketches, {shape}")
    print(f"{'encoding':<32} {'bytes':>7} {f'top {TOP}':>7} {'first':>7} {'rank r':>7} {'change':>8} {'mAP':>7}")
    exact = logits(network, sketches, photos)
    for name, (size, stored) in encodings(shape).items():
        scores = logits(network, sketches, stored(photos, shape))
        top, first, rho, change = compare(exact, scores)
        precision = mean_average_precision(scores, relevant)
        print(f"{name:<32} {size:>7} {top:7.4f} {first:7.4f} {rho:7.4f} {change:8.5f} {precision:7.4f}", flush=True)


if __name__ == "__main__":
    main()
