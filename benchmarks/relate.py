"""Milliseconds per pair of sketch and photo: the naive way beside `relate` as served, and whether they rank alike.

    python benchmarks/relate.py                                    # both presets, random weights
    python benchmarks/relate.py --presets zse-lite --checkpoint zse-lite
    python benchmarks/relate.py --threads 1 --clock cpu            # on a busy machine

The naive way repeats the sketch's tokens for every photo, projects both sides of every pair, and computes attention as
products and a softmax, in float32. A second line gives it fused attention, which shows what sharing gains by itself.
All sides take the same tokens and take turns in one process; medians are printed. Rank agreement is Spearman's over the
photos, averaged over sketches. With random weights tokens are random too and the last layers are enlarged, so that
scores spread as those of a trained network do; a checkpoint encodes made-up images.

"photos projected ahead" leaves out what depends on a photo alone, as if a gallery kept it: four times the bytes. "pairs
gathered" is how `relate_each` relates on a GPU, all sketches in one step (with `--sketches 8` and more). The floor is
the operations of the sketch's side once and the pairs' at the rate of one large matrix product.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

from measure import CLOCKS, Table, count_flops, header, parser, product_rate, take_turns
from shared_options import FASTEST

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, resolve_dtype
from model.layers.cross_attention import AttendingLayer
from model.layers.matching import MatchingRelation
from model.networks.registry import build_network, preset
from model.networks.zse_sbir import ZseNetwork
from model.types import Encoding

TARGETS = {("zse-vit-b16", "float32"): 1.3, ("zse-vit-b16", "bfloat16"): 2.0, ("zse-lite0", "bfloat16"): 1.7}


@torch.inference_mode()
def naive(network: ZseNetwork, sketch: Tensor, photos: Tensor, chunk: int, *, fused: bool) -> Tensor:
    """Relation logits [P] of sketch tokens [1, N, D] and photo tokens [P, N, D], everything once per pair."""
    cross, logits = network.cross_attention, []
    for start in range(0, len(photos), chunk):
        photo = photos[start : start + chunk]
        repeated = sketch.repeat(len(photo), 1, 1)
        values = (repeated, photo) if cross.values == "own" else (photo, repeated)
        one = naive_side(cross.sketch, cross.heads, repeated, photo, values[0], fused=fused)
        two = naive_side(cross.photo, cross.heads, photo, repeated, values[1], fused=fused)
        logits.append(network.relation(one, two, None, None)[0])
    return torch.cat(logits)


def naive_side(layer: AttendingLayer, heads: int, own: Tensor, other: Tensor, values: Tensor, *, fused: bool) -> Tensor:
    """One side of the cross-attention for P pairs, [P, N, D], as a textbook writes it."""
    query, key, value = (
        linear(tokens).unflatten(2, (heads, -1)).transpose(1, 2)
        for linear, tokens in ((layer.query, own), (layer.key, other), (layer.value, values))
    )
    if fused:
        attended = F.scaled_dot_product_attention(query, key, value)
    else:
        attended = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1) @ value
    x = layer.norm_attention(own + layer.output(attended.transpose(1, 2).flatten(2)))
    out: Tensor = layer.norm_feed_forward(x + layer.contract(F.relu(layer.expand(x))))
    return out


def rank_agreement(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two [S, P] score matrices, averaged over rows."""
    ranks = torch.stack([one, other]).argsort(dim=-1).argsort(dim=-1).double()
    centred = ranks - ranks.mean(dim=-1, keepdim=True)
    a, b = F.normalize(centred, dim=-1)
    return float((a * b).sum(dim=-1).mean())


def make_network(name: str, checkpoint: str | None) -> ZseNetwork:
    network = load_checkpoint(checkpoint, "cpu", "float32") if checkpoint else build_network(preset(name), seed=0)
    assert isinstance(network, ZseNetwork), "this benchmark looks inside ZSE-SBIR"
    if not checkpoint:
        with torch.no_grad():
            for layer in network.relation.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(3)
    return network


@torch.inference_mode()
def make_encodings(network: ZseNetwork, sketches: int, photos: int, *, encode: bool) -> tuple[Encoding, Encoding]:
    generator = torch.Generator().manual_seed(0)
    if not encode:
        count, width = network.photo_tokens, network.token_width
        tokens = torch.randn(sketches + photos, count, width, generator=generator)
        descriptor = F.normalize(tokens[:, 0, : network.descriptor_size], dim=-1)
        both = Encoding(descriptor, tokens, torch.arange(count - 1).expand(sketches + photos, -1))
        return both[:sketches], both[sketches:]
    size = network.preprocess.image_size
    coarse = torch.rand(sketches + photos, 3, 6, 6, generator=generator) * 2 - 1
    images = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(-1, 1)
    encoded = [network.encode_photo(batch) for batch in torch.split(images[sketches:], 16)]
    return network.encode_sketch(images[:sketches]), Encoding.concatenate(encoded)


COLUMNS = {
    "network": "network",
    "photos": "photos",
    "way": "way",
    "ms": "ms per pair",
    "gain": "gain",
    "target": "asked for",
    "floor_ms": "floor, ms",
    "of_floor": "times its floor",
    "spearman": "Spearman's rank correlation",
}


def measure(table: Table, name: str, arguments: argparse.Namespace, count: int) -> None:
    network = make_network(name, arguments.checkpoint)
    sketches, photos = make_encodings(network, arguments.sketches, count, encode=bool(arguments.checkpoint))
    device = arguments.device
    network = network.cast(device, torch.float32)
    sketches, photos = sketches.to(device), photos.to(device)
    half = copy.deepcopy(network).cast(device, torch.bfloat16)
    half_sketches, half_photos = (e.to(device, torch.bfloat16) for e in (sketches, photos))

    def each_sketch(relate: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.stack([relate(sketches.tokens[s : s + 1]) for s in range(len(sketches))])

    @torch.inference_mode()
    def served(which: ZseNetwork, some: Encoding, among: Encoding) -> Tensor:
        return torch.cat([which.relate(some[s : s + 1], among).logit for s in range(len(some))])

    def plainly(*, fused: bool) -> Tensor:
        return each_sketch(lambda s: naive(network, s, photos.tokens, arguments.naive_batch, fused=fused))

    @torch.inference_mode()
    def ahead() -> Tensor:
        chunk = half.pairs_per_chunk(photos.tokens.shape[1], photos.tokens.shape[1])
        rows = []
        for s in range(len(sketches)):
            own = half.cross_attention.project(half_sketches.tokens[s : s + 1], None, "sketch")
            parts = [side[start : start + chunk] for start in range(0, len(photos), chunk)]
            rows.append(
                torch.cat([half.relation(*half.cross_attention(own, part)[:2], None, None)[0] for part in parts])
            )
        return torch.stack(rows)

    @torch.inference_mode()
    def gathered() -> Tensor:
        own = torch.arange(len(sketches), device=device).repeat_interleave(len(photos))
        many = half_photos[torch.arange(len(photos), device=device).repeat(len(sketches))]
        return half.relate_gathered(half_sketches, many, own).reshape(len(sketches), -1)

    ways: dict[str, Callable[[], Tensor]] = {
        "relate, float32": lambda: served(network, sketches, photos),
        "relate, bfloat16": lambda: served(half, half_sketches, half_photos),
    }
    if not isinstance(network.relation, MatchingRelation):  # which attends to nothing, so there is no other way
        with torch.inference_mode():
            side = half.cross_attention.project(half_photos.tokens, None, "photo")
        ways = {
            "naive, float32": lambda: plainly(fused=False),
            "naive + fused attention, float32": lambda: plainly(fused=True),
            **ways,
            "relate, bfloat16, photos projected ahead": ahead,
        }
    ways["pairs gathered, bfloat16"] = gathered
    if torch.device(device).type == "cuda":
        recorded = copy.deepcopy(half)
        recorded.warm_up()
        every = Encoding.concatenate([half_photos] * len(sketches))
        counts = [len(photos)] * len(sketches)
        ways["relate_each, bfloat16, recorded"] = lambda: recorded.relate_each(half_sketches, every, counts).reshape(
            len(sketches), -1
        )
    slowest = next(iter(ways))
    clock = CLOCKS[arguments.clock]
    with torch.inference_mode():
        results = {way: run().float().cpu() for way, run in ways.items()}
    turns = take_turns(ways, arguments.rounds, clock=clock, device=device)
    pairs = len(sketches) * len(photos)
    flops = count_flops(lambda: served(network, sketches[:1], photos)) * len(sketches) / pairs
    rates = {name: product_rate(getattr(torch, name), device, clock=clock) for name in ("float32", "bfloat16")}
    for way in ways:
        arithmetic = "bfloat16" if "bfloat16" in way else "float32"
        floor = 1e3 * flops / rates[arithmetic]
        table.add(
            network=name,
            photos=len(photos),
            way=way,
            ms=turns.ms(way, pairs),
            gain=turns.ms(slowest) / turns.ms(way),
            target=TARGETS.get((name, way.removeprefix("relate, "))) if way.startswith("relate") else None,
            floor_ms=floor,
            of_floor=turns.ms(way, pairs) / floor,
            spearman=rank_agreement(results[slowest], results[way]),
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--presets", nargs="+", default=["zse-vit-b16", "zse-lite0", "zse-lite"])
    options.add_argument("--checkpoint", help="name or file; its weights and encodings instead of random ones")
    options.add_argument("--device", default=FASTEST)
    options.add_argument("--sketches", type=int, default=1)
    options.add_argument("--photos", type=int, nargs="+", default=[100])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--naive-batch", type=int, default=20, help="pairs at once in the naive way (upstream: 20)")
    arguments = options.parse_args()
    header(arguments, arguments.device)
    table = Table("relate", "Relating sketches to many photos each", COLUMNS).keep(arguments, arguments.device)
    for name in arguments.presets:
        for count in arguments.photos:
            measure(table, name, arguments, count)
    served = str(resolve_dtype("auto", torch.device(arguments.device))).removeprefix("torch.")
    table.notes.append(f"Served here as {served}.")
    table.finish(arguments, arguments.device)


if __name__ == "__main__":
    main()
