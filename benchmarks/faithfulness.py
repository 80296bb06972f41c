"""Are the explanations true? Hides the photo patches named most important and watches the relation logit.

    python benchmarks/faithfulness.py --data DIR [--pairs DIR] [--checkpoint zse-lite] [--count 240] [--json FILE]

`--data` holds {sketch,photo}/CATEGORY/*; `--pairs` holds sketch/CATEGORY/*, photo/CATEGORY/* and pairs.csv. For each
pair of a sketch and a photo of its category:

* deletion: hide a share of the photo's patches, most important first; the logit should fall faster than with patches
  in random order, and than with the least important first. Insertion: show one share after the other.
* Two ways to hide. "tokens": the patch tokens that the encoder kept are masked, and the pair is related again.
  "pixels": patches are painted over in the photo with its mean colour, and it is encoded and related again.
* cost: time of explaining one pair against relating it.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared_options import add_network, add_pairs

from model.checkpoints.files import load_checkpoint
from model.explain import PairMaps, explain_pair, inked_patches, occlusion, pair_maps, relate_with_importance
from model.images.opening import open_image
from model.images.preprocess import photo_tensor, sketch_tensor
from model.networks.network import Network
from model.types import Encoding

Array = NDArray[np.float32]
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
PIXEL_SHARES = (0.2, 0.4)
RANDOM_ORDERS = 3


def category_pairs(root: Path, categories: list[str], count: int, seed: int) -> list[tuple[Path, Path]]:
    """`count` pairs of a sketch and a photo of its category, categories in turn."""
    numbers = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        category = categories[number % len(categories)]
        sketch, photo = (
            sorted((root / kind / category).iterdir())[
                int(numbers.integers(len(list((root / kind / category).iterdir()))))
            ]
            for kind in ("sketch", "photo")
        )
        pairs.append((sketch, photo))
    return pairs


def instance_pairs(root: Path, count: int, seed: int) -> list[tuple[Path, Path]]:
    """`count` drawings with the very photos they were made from."""
    with (root / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [
        (root / "sketch" / row["category"] / row["sketch"], root / "photo" / row["category"] / row["photo"])
        for row in (rows[int(n)] for n in chosen)
    ]


class Pair:
    """One sketch and one photo, encoded, with what the measures of importance say of the photo's patch tokens."""

    def __init__(self, network: Network, sketch: Path, photo: Path) -> None:
        self.network = network
        self.sketch_image = sketch_tensor(open_image(sketch), network.preprocess)
        self.photo_image = photo_tensor(open_image(photo), network.preprocess)
        self.sketch = network.encode_sketch(self.sketch_image[None])
        self.photo = network.encode_photo(self.photo_image[None])
        relation, importance = relate_with_importance(network, self.sketch, self.photo)
        if relation.attention is None or importance is None:
            raise SystemExit("this checkpoint has no kernel of real patches; use one of the zse kind")
        self.logit = float(relation.logit)
        ink = inked_patches(self.sketch_image, network.preprocess, network.grid)
        self.maps: PairMaps = pair_maps(self.sketch, self.photo, relation.attention, ink)
        self.positions = self.photo.positions[0].cpu().numpy()
        looks = relation.attention.sketch_to_photo[0, 0, 0, 1:].float().cpu().numpy()
        self.measures: dict[str, Array] = {
            "importance": importance[0],
            "matches": self.maps.weights.sum(axis=0) if len(self.maps.weights) else np.zeros_like(importance[0]),
            "retrieval token": looks,
            "occlusion": occlusion(network, self.sketch, self.photo),
        }

    def logits_of_masked(self, hidden: NDArray[np.bool_]) -> Array:
        """[V] logits with the tokens hidden that [V, N - 1] names; at least one token of each row stays."""
        mask = torch.ones(len(hidden), self.photo.tokens.shape[1], dtype=torch.bool)
        mask[:, 1:] = ~torch.from_numpy(hidden)
        rows = torch.zeros(len(hidden), dtype=torch.long)
        return self._relate(replace(self.photo[rows], mask=mask))

    def logits_of_painted(self, hidden: NDArray[np.bool_]) -> Array:
        """[V] logits of the photo with the grid's patches painted over that [V, G * G] names."""
        grid, size = self.network.grid, self.photo_image.shape[-1]
        cover = torch.from_numpy(hidden).view(-1, 1, grid, grid).float()
        cover = torch.nn.functional.interpolate(cover, size=(size, size), mode="nearest")
        mean = self.photo_image.mean(dim=(1, 2), keepdim=True)
        painted = self.photo_image * (1 - cover) + mean * cover
        parts = [self.network.encode_photo(painted[start : start + 12]) for start in range(0, len(painted), 12)]
        return self._relate(Encoding.concatenate(parts))

    def on_grid(self, values: Array) -> Array:
        """[N - 1] values of kept patches -> [G * G], spread over neighbours: features look past their own patch."""
        grid = self.network.grid
        rows, columns = np.divmod(np.arange(grid * grid), grid)
        kept_rows, kept_columns = np.divmod(self.positions, grid)
        distance = (rows[:, None] - kept_rows) ** 2 + (columns[:, None] - kept_columns) ** 2
        spread: Array = (np.exp(-distance / 2.0) @ values).astype(np.float32)
        return spread

    def _relate(self, photos: Encoding) -> Array:
        return np.asarray(self.network.relate(self.sketch, photos).logit[0].float().cpu().numpy())


def hide_first(order: NDArray[np.int64], share: float, *, at_least_one_stays: bool) -> NDArray[np.bool_]:
    """[n] bool: True for the first `share` of `order`."""
    count = round(share * len(order))
    if at_least_one_stays:
        count = min(count, len(order) - 1)
    hidden = np.zeros(len(order), dtype=bool)
    hidden[order[:count]] = True
    return hidden


def curves(
    measures: dict[str, Array],
    shares: tuple[float, ...],
    logits: Callable[[NDArray[np.bool_]], Array],
    *,
    seed: int,
    stay: bool,
) -> dict[str, dict[str, Array]]:
    """By measure: logits [len(shares)] with the most important, the least important and random patches hidden."""
    numbers = np.random.default_rng(seed)
    orders: list[NDArray[np.int64]] = []
    for values in measures.values():
        most = np.argsort(-values, kind="stable")
        orders += [most, most[::-1]]
    orders += [numbers.permutation(len(orders[0])) for _ in range(RANDOM_ORDERS)]
    hidden = np.stack([hide_first(order, share, at_least_one_stays=stay) for order in orders for share in shares])
    found = logits(hidden).reshape(len(orders), len(shares))
    random = found[-RANDOM_ORDERS:].mean(axis=0)
    return {
        name: {"most": found[2 * n], "least": found[2 * n + 1], "random": random} for n, name in enumerate(measures)
    }


def cost(pair: Pair) -> tuple[float, float]:
    """Milliseconds of relating one encoded pair, and of explaining it; medians of 15."""

    def median(action: Callable[[], object]) -> float:
        times = []
        for _ in range(15):
            start = time.perf_counter()
            action()
            times.append((time.perf_counter() - start) * 1000)
        return float(np.median(times))

    relating = median(lambda: pair.network.relate(pair.sketch, pair.photo))
    explaining = median(lambda: explain_pair(pair.network, pair.sketch_image, pair.sketch, pair.photo))
    return relating, explaining


def measure(network: Network, pairs: list[tuple[Path, Path]], pixels: int) -> dict[str, Any]:
    """All figures over `pairs`; pixels are hidden in the first `pixels` of them."""
    tokens: dict[str, dict[str, list[Array]]] = {}
    painted: dict[str, dict[str, list[Array]]] = {}
    logits, costs = [], []
    for number, (sketch, photo) in enumerate(pairs):
        pair = Pair(network, sketch, photo)
        logits.append(pair.logit)
        found = curves(pair.measures, SHARES, pair.logits_of_masked, seed=number, stay=True)
        for name, lines in found.items():
            _keep(tokens, name, lines)
        if number < pixels:
            whole = np.array([pair.logit], dtype=np.float32)
            on_grid = {name: pair.on_grid(values) for name, values in pair.measures.items()}
            found = curves(on_grid, PIXEL_SHARES, pair.logits_of_painted, seed=number, stay=False)
            for name, lines in found.items():
                _keep(painted, name, {kind: np.concatenate([whole, line]) for kind, line in lines.items()})
        if number < 10:
            costs.append(cost(pair))
        if (number + 1) % 40 == 0:
            print(f"  {number + 1} of {len(pairs)} pairs", flush=True)
    relating, explaining = np.median(costs, axis=0)
    return {
        "pairs": len(pairs),
        "mean_logit": float(np.mean(logits)),
        "tokens": {name: _summary(lines, SHARES) for name, lines in tokens.items()},
        "pixels": {name: _summary(lines, (0.0, *PIXEL_SHARES)) for name, lines in painted.items()},
        "relate_ms": float(relating),
        "explain_ms": float(explaining),
    }


def _keep(store: dict[str, dict[str, list[Array]]], name: str, found: dict[str, Array]) -> None:
    for kind, line in found.items():
        store.setdefault(name, {}).setdefault(kind, []).append(line)


def _summary(lines: dict[str, list[Array]], shares: tuple[float, ...]) -> dict[str, Any]:
    """Mean curves, the mean falls at 20 % with their ratio, and how often most falls deeper than random."""
    at = shares.index(0.2)
    whole = {kind: np.stack(rows) for kind, rows in lines.items()}
    falls = {kind: rows[:, 0] - rows[:, at] for kind, rows in whole.items()}
    # Insertion shows the most important first: what is hidden then is the least important rest.
    return {
        "shares": list(shares),
        "curves": {kind: [float(v) for v in rows.mean(axis=0)] for kind, rows in whole.items()},
        "fall_at_20": {kind: float(fall.mean()) for kind, fall in falls.items()},
        "ratio_to_random": _ratio(float(falls["most"].mean()), float(falls["random"].mean())),
        "deeper_than_random": float((falls["most"] > falls["random"]).mean()),
        "deletion_area": {kind: float(np.trapezoid(rows.mean(axis=0), shares)) for kind, rows in whole.items()},
    }


def _ratio(most: float, random: float) -> float | None:
    """How many times deeper; None where hiding at random does not lower the logit at all."""
    return most / random if random > 1e-4 else None


def tell(name: str, found: dict[str, Any]) -> None:
    """The figures as tables."""
    print(f"\n{name}: {found['pairs']} pairs, mean relation logit {found['mean_logit']:.2f}")
    for way in ("tokens", "pixels"):
        if not found[way]:
            continue
        print(f"\n  hiding {way}: fall of the logit with 20 % hidden, mean")
        print(f"  {'order by':<20}{'most':>8}{'random':>8}{'least':>8}{'most / random':>15}{'deeper in':>11}")
        for measure_name, one in found[way].items():
            fall, ratio = one["fall_at_20"], one["ratio_to_random"]
            times = "-" if ratio is None else f"{ratio:.1f}x"
            print(
                f"  {measure_name:<20}{fall['most']:8.3f}{fall['random']:8.3f}{fall['least']:8.3f}"
                f"{times:>15}{100 * one['deeper_than_random']:10.0f}%"
            )
    best = found["tokens"]["importance"]
    print("\n  curves of 'importance', tokens: logit by share hidden (insertion reads 'least' from the right)")
    print("  " + " " * 12 + "".join(f"{100 * share:7.0f}%" for share in best["shares"]))
    for kind in ("most", "random", "least"):
        print(f"  {kind:<12}" + "".join(f"{value:8.2f}" for value in best["curves"][kind]))
    dearer = found["explain_ms"] / found["relate_ms"]
    print(f"\n  cost: relate {found['relate_ms']:.2f} ms, explain {found['explain_ms']:.2f} ms ({dearer:.2f}x)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with {sketch,photo}/CATEGORY/*")
    parser.add_argument("--categories", type=Path, help="file naming the categories to use, one per line; default: all")
    add_pairs(parser, count=240)
    add_network(parser)
    parser.add_argument("--pixels", type=int, default=60, help="of these, how many are also painted over")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    network = load_checkpoint(options.checkpoint, "auto", "float32")
    found: dict[str, Any] = {}
    with torch.inference_mode():
        if options.data:
            categories = sorted(folder.name for folder in (options.data / "sketch").iterdir())
            if options.categories:
                wanted = set(options.categories.read_text().split())
                categories = [name for name in categories if name in wanted]
            pairs = category_pairs(options.data, categories, options.count, options.seed)
            found["category pairs"] = measure(network, pairs, options.pixels)
        if options.pairs:
            pairs = instance_pairs(options.pairs, options.count, options.seed)
            found["instance pairs"] = measure(network, pairs, options.pixels)
    print(f"checkpoint {network.identity.name} {network.identity.sha256[:12]}")
    for name, figures in found.items():
        tell(name, figures)
    if options.json:
        options.json.write_text(json.dumps({"checkpoint": network.identity.sha256, **found}, indent=1))


if __name__ == "__main__":
    main()
