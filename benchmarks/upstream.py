"""One query as ZSE-SBIR's published evaluation searches, and as we do, with the same network on the same machine.

    python benchmarks/upstream.py                                         # zse-lite as bundled, 1 000 and 10 000 photos
    python benchmarks/upstream.py --preset zse-vit-b16 --measured 20      # random weights: time does not depend on them
    python benchmarks/upstream.py --data DIR --categories FILE            # instead: the quality of both ways

The published way, written here with our network in float32: for every 20 sketches the whole gallery is encoded again,
20 photos at a time, and every sketch is related to every photo, with everything projected once per pair. Its time grows
in proportion to the photos, so it is measured on `--measured` of them, in turns with ours, and multiplied; a gallery of
just so many is measured whole. Ours: the gallery is encoded once, beforehand; a query is one sketch encoded, recall,
the tokens of the candidates from the token cache, and their relation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from measure import CLOCKS, Table, header, parser, take_turns
from shared_options import FASTEST, add_dataset, add_network

# isort: split
import torch
from galleries import SizedSnapshot, shape_of, write_gallery
from relate import naive
from torch import Tensor

from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.checkpoints.files import load_checkpoint, resolve_dtype
from model.evaluation.arms import checkpoint_fusion
from model.evaluation.evaluate import evaluate
from model.evaluation.options import EvaluationOptions
from model.evaluation.tasks import folder_task
from model.networks.network import Network
from model.networks.registry import build_network, preset
from model.networks.zse_sbir import ZseNetwork

GROUP = 20  # sketches and photos at a time, as in the published loop
QUERIES = 5
STORED = 512  # photos whose random tokens stand for all
TARGETS = {("zse-vit-b16", 10_000): 100, ("zse-lite", 10_000): 50}
COLUMNS = {
    "network": "network",
    "photos": "photos",
    "upstream_ms": "the published way, ms per query",
    "encode_share": "of which encoding the gallery",
    "measured": "measured on photos",
    "ours_ms": "ours, ms per query",
    "gain": "times faster",
    "target": "asked for",
}


def load(arguments: argparse.Namespace, dtype: str) -> Network:
    if not arguments.preset:
        return load_checkpoint(arguments.checkpoint, arguments.device, dtype)
    made = build_network(preset(arguments.preset), seed=0).fold()
    device = torch.device(arguments.device)
    return made.cast(device, resolve_dtype(dtype, device))


class PublishedWay:
    """The loop over `count` photos for one group of sketches, in steps that are timed apart."""

    def __init__(self, network: Network, count: int) -> None:
        assert isinstance(network, ZseNetwork), "the published loop relates by ZSE-SBIR"
        size = network.preprocess.image_size
        generator = torch.Generator().manual_seed(0)
        self.network = network
        self.sketches = torch.rand(GROUP, 3, size, size, generator=generator).to(network.device)
        self.photos = torch.rand(count, 3, size, size, generator=generator)
        self.tokens: list[Tensor] = []

    def encode_sketches(self) -> None:
        """Once for the group, whatever the gallery."""
        self.sketch_tokens = self.network.encode_sketch(self.sketches).tokens

    def encode(self) -> None:
        """All photos."""
        self.tokens = [self.network.encode_photo(part).tokens for part in torch.split(self.photos, GROUP)]

    def relate(self) -> None:
        """Every pair of the group."""
        for photos in self.tokens:
            for sketch in torch.split(self.sketch_tokens, 1):
                naive(self.network, sketch, photos, GROUP, fused=False)


def ours(searcher: TwoStageSearcher, query: Query) -> None:
    """Some queries, one after the other."""
    side = searcher.network.preprocess.image_size
    for sketch in torch.rand(QUERIES, 3, side, side, generator=torch.Generator().manual_seed(1)):
        list(searcher.search_many([QueryParts(sketch)], [query]))


def compare(table: Table, arguments: argparse.Namespace) -> None:
    plain, served = load(arguments, "float32"), load(arguments, "auto")
    name, measured = arguments.preset or arguments.checkpoint, min(arguments.measured, max(arguments.sizes))
    published = PublishedWay(plain, measured)
    steps: dict[str, Callable[[], object]] = {
        "sketches": published.encode_sketches,
        "encode": published.encode,
        "relate": published.relate,
    }
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        write_gallery(gallery, STORED, shape_of(served), served.identity)
        stored = GallerySnapshot.load(gallery, served.identity, device=served.device, dtype=served.dtype, preload=True)
        for count in arguments.sizes:
            searcher = TwoStageSearcher(served, cast(Any, SizedSnapshot.make(stored, count, served.descriptor_size)))
            # all of them shown, so that all are related even where the score rule orders by recall alone
            query = Query(top_k=arguments.candidates, candidates=arguments.candidates)
            steps[f"ours, {count}"] = partial(ours, searcher, query)
        turns = take_turns(steps, arguments.rounds, clock=CLOCKS[arguments.clock], device=arguments.device)
    for count in arguments.sizes:
        encode, relate = (turns.ms(step, GROUP) * count / measured for step in ("encode", "relate"))
        whole, own = turns.ms("sketches", GROUP) + encode + relate, turns.ms(f"ours, {count}", QUERIES)
        table.add(
            network=name,
            photos=count,
            upstream_ms=whole,
            encode_share=encode / whole,
            measured=measured,
            ours_ms=own,
            gain=whole / own,
            target=TARGETS.get((name, count)),
        )


def quality(arguments: argparse.Namespace) -> None:
    """mAP@200 of every pair related, which is what the published loop ranks by, and of our two stages."""
    wanted = [line.strip() for line in arguments.categories.read_text().splitlines() if line.strip()]
    task = folder_task(arguments.data / "sketch", arguments.data / "photo", "inter-category", wanted)
    options = EvaluationOptions(candidates=tuple(arguments.depths), max_sketches=arguments.sketches)
    network = load_checkpoint(arguments.checkpoint, arguments.device)
    report = evaluate(network, task, options).report
    table = Table(
        "upstream-quality",
        f"Quality of both ways, {report['counts']['sketches']} sketches, {report['counts']['photos']} photos",
        {"way": "way", "map_200": "mAP@200 strict", "kept": "of the exhaustive one"},
    )
    arms = report["arms"]
    table.add(way="recall alone", map_200=arms["recall"]["map_200_strict"], kept=None)
    pairs = [("relation", "two_stage", "relation network alone")]
    if checkpoint_fusion(network) is not None:
        pairs.append(("fused", "fused_two_stage", "score rule"))
    else:
        table.notes.append("The checkpoint's score rule is one of the two scores alone.")
    for whole, staged, told in pairs:
        best = arms[whole]["map_200_strict"]
        table.add(way=f"every pair, {told}", map_200=best, kept=1.0)
        for depth, values in arms[staged].items():
            value = values["map_200_strict"]
            table.add(way=f"two stages at {depth}, {told}", map_200=value, kept=value / best)
    if arguments.json:
        arguments.json = arguments.json.with_name("upstream-quality.json")
    table.finish(arguments)


def main() -> None:
    options = parser(__doc__)
    add_network(options, device=FASTEST, random_weights=True)
    options.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--measured", type=int, default=100, help="photos that the published way is measured on")
    options.add_argument("--candidates", type=int, default=50)
    options.add_argument("--rounds", type=int, default=3)
    add_dataset(options, sketches=140)
    options.add_argument("--depths", type=int, nargs="+", default=[50, 100])
    arguments = options.parse_args()
    header(arguments, arguments.device)
    if arguments.data:
        if not arguments.categories:
            options.error("--data needs --categories")
        quality(arguments)
        return
    table = Table("upstream", "One query the published way and ours", COLUMNS)
    compare(table, arguments)
    if any(row["measured"] != row["photos"] for row in table.rows):
        table.notes.append("The published way is measured on as many photos as told, and multiplied.")
    table.finish(arguments, arguments.device)


if __name__ == "__main__":
    main()
