"""Milliseconds to encode an image, by arithmetic and batch size, beside the floor of its multiply-adds.

    python benchmarks/encode.py                                 # zse-lite as bundled
    python benchmarks/encode.py --preset zse-vit-b16            # random weights: time does not depend on them
    python benchmarks/encode.py --data DIR --categories FILE    # instead: what each does to the quality of recall
    python benchmarks/encode.py --device cuda --batches 1 32 256

Sides take turns in one process. The floor of a row is the operations of its convolutions and matrix products at the
rate that one large matrix product of its type reaches with as many threads; int8 is compared with bfloat16's rate.
"recorded" launches small batches as CUDA graphs, as the service does. "plain" turns off what the CPU path adds:
activations fused into convolutions, and weights laid out once. "int8" quantises only the linear layers, with torch's
dynamic quantisation.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from typing import Any, cast

from measure import CLOCKS, Table, Turns, count_flops, header, machine, parser, product_rate, synchronise, take_turns
from shared_options import FASTEST, add_dataset, add_network

# isort: split
import torch
from torch import Tensor, nn

import model.layers.convolution
from model.checkpoints.files import load_checkpoint
from model.data.folders import read_categories
from model.evaluation.encode import encode_items
from model.evaluation.metrics import average_precision, rank_photos
from model.evaluation.protocols import balanced_sample
from model.networks.network import Network
from model.networks.registry import build_network, preset

Step = Callable[[Tensor], object]
COLUMNS = {
    "network": "network",
    "arithmetic": "arithmetic",
    "threads": "threads",
    "batch": "batch",
    "ms": "ms per image",
    "per_s": "images per s",
    "gain": "gain over float32",
    "gflop": "GFLOP per image",
    "floor_ms": "floor, ms",
    "of_floor": "times its floor",
}


def networks(arguments: argparse.Namespace) -> dict[str, Network]:
    """The same weights in every arithmetic that is measured."""
    if arguments.preset:
        whole: Network = build_network(preset(arguments.preset), seed=0).fold().cast(arguments.device, torch.float32)
    else:
        whole = load_checkpoint(arguments.checkpoint, arguments.device, "float32")
    made = {"float32": whole}
    made["bfloat16"] = copy.deepcopy(whole).cast(arguments.device, torch.bfloat16)
    if torch.device(arguments.device).type == "cuda":
        made["bfloat16, recorded"] = copy.deepcopy(made["bfloat16"])
        made["bfloat16, recorded"].warm_up()
    if arguments.device == "cpu":
        made["bfloat16, plain"] = made["bfloat16"]
        made["bfloat16, plain, batch norms apart"] = unfolded(arguments)
        made["int8 linear layers"] = quantised(whole)
    return made


def unfolded(arguments: argparse.Namespace) -> Network:
    """As it was trained, in bfloat16."""
    if arguments.preset:
        return build_network(preset(arguments.preset), seed=0).cast("cpu", torch.bfloat16)
    return load_checkpoint(arguments.checkpoint, "cpu", "bfloat16", trainable=True)


def quantised(network: Network) -> Network:
    """Its encoder's linear layers in int8, inputs on the fly, but for those whose weights the tokenizer reads."""
    read = {f"blocks.{layer - 1}.attn.qkv" for layer, _ in network.config.encoder.keep_rates}
    names = {
        f"encoder.{name}": torch.ao.quantization.default_dynamic_qconfig
        for name, layer in network.get_submodule("encoder").named_modules()
        if isinstance(layer, nn.Linear) and not (read and name.endswith(tuple(read)))
    }
    with warnings.catch_warnings():  # torch announces that this moves to torchao, which is no dependency of ours
        warnings.simplefilter("ignore")
        quantise: Any = torch.ao.quantization.quantize_dynamic
        return cast(Network, quantise(network, names, dtype=torch.qint8))


def encoder(name: str, network: Network, images: Tensor) -> Callable[[], object]:
    """One step of a side."""

    def step() -> object:
        if "plain" not in name:
            return network.encode_photo(images)
        fused = model.layers.convolution._fused
        setattr(model.layers.convolution, "_fused", lambda _: False)  # noqa: B010
        try:
            return network.encode_photo(images)
        finally:
            model.layers.convolution._fused = fused

    return step


def measure(table: Table, made: dict[str, Network], arguments: argparse.Namespace, threads: int) -> None:
    torch.set_num_threads(threads)
    clock = CLOCKS[arguments.clock]
    rates = {dtype: product_rate(dtype, arguments.device, clock=clock) for dtype in (torch.float32, torch.bfloat16)}
    name = arguments.preset or arguments.checkpoint
    size = made["float32"].preprocess.image_size
    one = torch.randn(1, 3, size, size)
    flops = count_flops(lambda: made["float32"].encode_photo(one))
    for batch in arguments.batches:
        images = torch.randn(batch, 3, size, size).to(arguments.device)
        sides = {side: encoder(side, network, images.to(network_type(network))) for side, network in made.items()}
        turns: Turns = take_turns(sides, arguments.rounds, clock=clock, device=arguments.device)
        for side, network in made.items():
            ms = turns.ms(side, batch)
            rate = rates[
                torch.float32 if network_type(network) == torch.float32 and "int8" not in side else torch.bfloat16
            ]
            table.add(
                network=name,
                arithmetic=side,
                threads=threads,
                batch=batch,
                ms=ms,
                per_s=1e3 / ms,
                gain=turns.ms("float32", batch) / ms,
                gflop=flops / 1e9,
                floor_ms=1e3 * flops / rate,
                of_floor=ms / (1e3 * flops / rate),
            )
    table.extra.setdefault("gflop_per_s", {})[threads] = {str(dtype): rate / 1e9 for dtype, rate in rates.items()}


def network_type(network: Network) -> torch.dtype:
    """The arithmetic it was cast to; quantised layers take float32."""
    return network.dtype


def quality(made: dict[str, Network], arguments: argparse.Namespace) -> None:
    """mAP@200 of recall with both sides encoded in each arithmetic."""
    wanted = [line.strip() for line in arguments.categories.read_text().splitlines() if line.strip()]
    sketches = read_categories(arguments.data / "sketch", "sketch").only(wanted).items
    photos = read_categories(arguments.data / "photo", "photo").only(wanted).items
    sketches = tuple(sketches[row] for row in balanced_sample(sketches, arguments.sketches, 0))
    relevant = torch.tensor([[p.category == s.category for p in photos] for s in sketches])
    table = Table(
        "encode-quality",
        f"Recall by arithmetic, {len(sketches)} sketches, {len(photos)} photos",
        {"arithmetic": "arithmetic", "map_200": "mAP@200 strict", "moved": "moved by"},
    )
    first: float | None = None
    for side, network in made.items():
        if "plain" in side:
            continue
        found = encode_items(network, sketches, batch_size=16).descriptor
        scores = found @ encode_items(network, photos, batch_size=16).descriptor.T
        hits = relevant.gather(1, rank_photos(scores, torch.arange(len(photos))))
        value = float(average_precision(hits, relevant.sum(1), 200).nanmean())
        first = value if first is None else first
        table.add(arithmetic=side, map_200=value, moved=value - first)
    told = copy.copy(arguments)
    told.json = arguments.json and arguments.json.with_name("encode-quality.json")
    table.finish(told, arguments.device)


def main() -> None:
    options = parser(__doc__)
    add_network(options, device=FASTEST, random_weights=True)
    options.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--also-threads", type=int, nargs="*", default=[], help="measure with these, too")
    add_dataset(options, sketches=600)
    arguments = options.parse_args()
    header(arguments, arguments.device)
    made = networks(arguments)
    if arguments.data:
        if not arguments.categories:
            options.error("--data needs --categories")
        quality(made, arguments)
        return
    table = Table("encode", "Encoding one image", COLUMNS).keep(arguments, arguments.device)
    for threads in dict.fromkeys([arguments.threads, *arguments.also_threads]):
        measure(table, made, arguments, threads)
    synchronise(arguments.device)
    table.extra["machine_at_start"] = machine(arguments.device)
    table.finish(arguments, arguments.device)


if __name__ == "__main__":
    main()
