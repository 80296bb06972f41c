"""Do matches point at the same part? On pairs of a photo and a drawing made from it, both show one pose.

    python benchmarks/pointing.py --pairs DIR [--checkpoint zse-lite] [--count 200]

`--pairs` holds sketch/CATEGORY/*, photo/CATEGORY/* and pairs.csv. Every inked patch of the drawing points at its best
match in the photo. Printed is the weighted share of these places that lie within two patches of where one shift and
one scale per axis, of at least 0.3, puts them: for the pose that is right, for the same pose mirrored left to right,
and for places shuffled among the patches. Then the same with the photo itself mirrored.

The second table is about the matches that are worth showing, the clear ones. It counts a drawing's mutual matches with
its own photo and with a photo of another category, and says how many are clear, and how many of the eight strongest
lie where the pose puts them.

Read the differences, not the shares. A matcher that sent all patches to one place would agree with every pose, mirrored
or shuffled. A token that knew only its own place would agree with any photo as it stands. How well matches tell left
from right is the share of the right pose minus that of the mirrored one, and it must survive mirroring the photo.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faithfulness import instance_pairs
from numpy.typing import NDArray
from shared_options import add_network, add_pairs

from model.checkpoints.files import load_checkpoint
from model.explain import PairMaps, correspondences, inked_patches, pair_maps
from model.images.opening import open_image
from model.images.preprocess import photo_tensor, sketch_tensor
from model.networks.network import Network

FEWEST = 8
"""Inked patches that a drawing must have for a pose to mean anything."""


STRONGEST = 8
"""Matches of a pair that are numbered, wherever they are shown."""


def agreement(maps: PairMaps, grid: int, places: NDArray[np.int64]) -> float:
    """Weighted share of matches near a fit of shift and scale; `places` [m] are the photo patches' grid positions."""
    near, weight = near_the_pose(maps, grid, places)
    return float(np.average(near, weights=weight))


def near_the_pose(
    maps: PairMaps, grid: int, places: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """[n] whether each drawn patch's best match is near a fit of shift and scale, and [n] its weight."""
    best = maps.weights.argmax(axis=1)
    weight = maps.weights.max(axis=1)
    source, target = (
        np.stack(np.divmod(positions, grid), axis=1).astype(float)
        for positions in (maps.sketch_positions, places[best])
    )
    near = np.ones(len(source), dtype=bool)
    for axis in (0, 1):
        x, y = source[:, axis], target[:, axis]
        middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float(np.average((x - middle_x) ** 2, weights=weight)) or 1.0
        scale = max(0.3, float(np.average((x - middle_x) * (y - middle_y), weights=weight)) / spread)
        near &= np.abs(middle_y + scale * (x - middle_x) - y) <= 2.0
    return near, weight


def figures(network: Network, sketch: Path, photo: Path, seed: int) -> list[float] | None:
    """Agreement with the right pose, the mirrored one and with shuffled places; the same for the photo mirrored."""
    grid = network.grid
    image = sketch_tensor(open_image(sketch), network.preprocess)
    asked = network.encode_sketch(image[None])
    ink = inked_patches(image, network.preprocess, grid)
    straight = photo_tensor(open_image(photo), network.preprocess)
    found = []
    for pixels, turned in ((straight, False), (straight.flip(-1), True)):
        shown = network.encode_photo(pixels[None])
        why = network.relate(asked, shown, attention=True).attention
        if why is None:
            raise SystemExit("this checkpoint matches no patches; use one of the zse kind")
        maps = pair_maps(asked, shown, why, ink)
        if len(maps.sketch_positions) < FEWEST:
            return None
        places = maps.photo_positions
        mirrored = places // grid * grid + grid - 1 - places % grid
        right, wrong = (mirrored, places) if turned else (places, mirrored)
        order = np.random.default_rng(seed).permutation(len(maps.weights))
        shuffled = agreement(replace(maps, weights=maps.weights[order]), grid, right)
        found += [agreement(maps, grid, right), agreement(maps, grid, wrong), shuffled]
    return found


def mutual_matches(network: Network, sketch: Path, photo: Path) -> NDArray[np.bool_]:
    """[k, 2] of the mutual matches, strongest first: whether each is clear, and whether it lies near the pose."""
    image = sketch_tensor(open_image(sketch), network.preprocess)
    asked = network.encode_sketch(image[None])
    shown = network.encode_photo(photo_tensor(open_image(photo), network.preprocess)[None])
    why = network.relate(asked, shown, attention=True).attention
    assert why is not None  # `figures` has seen to it
    maps = pair_maps(asked, shown, why, inked_patches(image, network.preprocess, network.grid))
    near = dict(zip(maps.sketch_positions, near_the_pose(maps, network.grid, maps.photo_positions)[0], strict=True))
    found = [(pair.clear, near[pair.sketch_patch]) for pair in correspondences(maps) if pair.mutual]
    return np.array(found, dtype=bool).reshape(-1, 2)


def print_clear(network: Network, pairs: list[tuple[Path, Path]], seed: int) -> None:
    """The second table."""
    order = np.random.default_rng(seed)
    photos = [photo for _, photo in pairs]
    rows: dict[str, list[NDArray[np.bool_]]] = {"its own": [], "another category's": []}
    for sketch, photo in pairs:
        rows["its own"].append(mutual_matches(network, sketch, photo))
        others = [other for other in photos if other.parent.name != photo.parent.name]
        if others:
            other = others[int(order.integers(len(others)))]
            rows["another category's"].append(mutual_matches(network, sketch, other))
    print(f"\n{'photo':<20}{'mutual':>8}{'clear':>8}{'in place':>10}{'clear, in place':>17}{'none clear':>12}")
    for name, found in rows.items():
        if not found:
            continue
        every, first = np.concatenate(found), np.concatenate([one[:STRONGEST] for one in found])
        clear = np.concatenate([one[one[:, 0]][:STRONGEST] for one in found])
        none = np.mean([not one[:, 0].any() for one in found])
        shares = (every[:, 0].mean(), first[:, 1].mean(), clear[:, 1].mean(), none)
        print(
            f"{name:<20}{len(every) / len(found):8.1f}"
            + "".join(f"{100 * share:{width}.1f}%" for share, width in zip(shares, (7, 9, 16, 11), strict=True))
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_pairs(parser, count=200, required=True)
    add_network(parser)
    options = parser.parse_args()
    network = load_checkpoint(options.checkpoint, "auto", "float32")
    pairs = instance_pairs(options.pairs, options.count, options.seed)
    with torch.inference_mode():
        rows: list[Any] = [figures(network, sketch, photo, number) for number, (sketch, photo) in enumerate(pairs)]
    used = [row for row in rows if row is not None]
    if not used:
        raise SystemExit(f"no drawing has {FEWEST} inked patches that the network kept; name more pairs")
    means = np.mean(used, axis=0)
    print(f"checkpoint {network.identity.name} {network.identity.sha256[:12]}, {len(used)} pairs")
    print(f"{'photo':<12}{'right pose':>12}{'mirrored':>12}{'shuffled':>12}{'right - mirrored':>18}")
    for name, part in (("as it is", means[:3]), ("mirrored", means[3:])):
        shares = "".join(f"{100 * share:11.1f}%" for share in part)
        print(f"{name:<12}{shares}{100 * (part[0] - part[1]):17.1f}%")
    with torch.inference_mode():
        print_clear(network, pairs, options.seed)


if __name__ == "__main__":
    main()
