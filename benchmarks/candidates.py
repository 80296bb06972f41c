"""Which photos are worth relating? Quality per millisecond of recall's variants, and of stopping early.

    python benchmarks/candidates.py --data DIR --categories FILE      # choose by validation categories alone

DIR holds sketch/CATEGORY/* and photo/CATEGORY/*. Every way ends with `--candidates` photos that are related and
ordered by the checkpoint's score rule (with the cosine of the descriptor that searched last); the rest of the gallery
follows in recall's order.

* plain: the photos nearest to the sketch.
* neighbours of the first hits: half of the candidates from the sketch, half those photos nearest to its first hits.
* expanded: the sketch's descriptor moved towards the mean of its first hits', and a second search
  (`model/ranking/expansion.py`); "twice" moves it once more.

"added ms" is what a search takes longer in galleries of 10 000 and 100 000 synthetic descriptors, one thread, in turns.
The second table relates candidates in recall's order: 20, then 10 at a time. It stops when a candidate could enter the
first `top_k` only with a logit more than so many standard deviations above the mean.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial

from measure import CLOCKS, Table, header, parser, take_turns
from shared_options import add_dataset, add_network

# isort: split
import torch
from galleries import Floats, descriptors
from torch import Tensor

from index_builder.index.faiss_search import load_faiss
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.settings import RecallSettings
from model.checkpoints.files import load_checkpoint
from model.data.folders import read_categories
from model.evaluation.encode import encode_items
from model.evaluation.metrics import average_precision, precision_at, rank_photos
from model.evaluation.protocols import balanced_sample
from model.networks.network import Network
from model.ranking.expansion import expand
from model.ranking.score import mixture
from model.types import Encoding

FIRST, STEP = 20, 10
GALLERIES = (10_000, 100_000)


@dataclass
class Lab:
    """Encoded sketches [S] and photos [P], who is relevant to whom [S, P], and the logits computed so far [S, P]."""

    network: Network
    sketches: Encoding
    photos: Encoding
    relevant: Tensor
    logits: Tensor

    @staticmethod
    def load(network: Network, arguments: argparse.Namespace) -> Lab:
        """Encode a balanced sample of the sketches and all photos of the categories."""
        wanted = [line.strip() for line in arguments.categories.read_text().splitlines() if line.strip()]
        sketches = read_categories(arguments.data / "sketch", "sketch").only(wanted).items
        photos = read_categories(arguments.data / "photo", "photo").only(wanted).items
        sketches = tuple(sketches[row] for row in balanced_sample(sketches, arguments.sketches, 0))
        relevant = torch.tensor([[p.category == s.category for p in photos] for s in sketches])
        encoded, gallery = (encode_items(network, items, batch_size=16) for items in (sketches, photos))
        return Lab(network, encoded, gallery, relevant, torch.full(relevant.shape, torch.nan))

    @property
    def queries(self) -> Tensor:
        """[S, E] descriptors that search last, expanded where the checkpoint's rule says so."""
        rule = self.network.config.score.expansion
        return moved(self, self.sketches.descriptor, rule.neighbours, rule.weight)

    def order(self, queries: Tensor) -> Tensor:
        """[S, P] photos by cosine with [S, E]."""
        return rank_photos(queries @ self.photos.descriptor.T, torch.arange(len(self.photos)))

    def related(self, candidates: Tensor) -> Tensor:
        """Logits [S, K] of candidates [S, K]; each pair is related once."""
        with torch.inference_mode():
            for row, photos in enumerate(candidates):
                new = photos[self.logits[row, photos].isnan()]
                if len(new):
                    self.logits[row, new] = self.network.relate(self.sketches[row : row + 1], self.photos[new]).logit[0]
        return self.logits.gather(1, candidates)

    def scores(self, candidates: Tensor, queries: Tensor) -> Tensor:
        """[S, K], of the checkpoint's rule before the sigmoid."""
        cosines = (queries @ self.photos.descriptor.T).gather(1, candidates)
        return mixture(self.network.config.score, self.related(candidates), cosines)

    def quality(self, order: Tensor) -> tuple[float, float]:
        """mAP@200 strict and P@10 of [S, P]."""
        hits, count = self.relevant.gather(1, order), self.relevant.sum(1)
        return float(average_precision(hits, count, 200).nanmean()), float(precision_at(hits, count, 10).nanmean())


def reordered(candidates: Tensor, scores: Tensor, order: Tensor) -> Tensor:
    """[S, P]: candidates [S, K] by score, then the others in the given order."""
    head = candidates.gather(1, scores.argsort(dim=1, descending=True, stable=True))
    rest = [row[~torch.isin(row, some)] for row, some in zip(order, candidates, strict=True)]
    return torch.cat([head, torch.stack(rest)], dim=1)


def neighbours(lab: Lab, order: Tensor, first: int, count: int) -> Tensor:
    """[S, count]: half from recall's order, half the photos nearest to the first ones, the nearest of each in turn."""
    among = (lab.photos.descriptor @ lab.photos.descriptor.T).argsort(dim=1, descending=True, stable=True)
    chosen = []
    for row in order.tolist():
        near = among[row[:first], : count + 1].T.flatten().tolist()
        chosen.append(list(dict.fromkeys([*row[: count // 2], *near, *row]))[:count])
    return torch.tensor(chosen)


def moved(lab: Lab, queries: Tensor, first: int, weight: float, rounds: int = 1) -> Tensor:
    """Expanded queries [S, E]."""
    start = queries
    for _ in range(rounds):
        queries = expand(start, lab.photos.descriptor[lab.order(queries)[:, :first]], weight)
    return queries


def search(index: RecallIndex, query: Floats, count: int, way: str) -> None:
    """What a way searches for."""
    if way == "neighbours":
        index.search(index.descriptors(index.search(query, count)[0][0, :5]), count)
        return
    sought = query
    for _ in range({"plain": 0, "expanded": 1, "twice": 2}[way]):
        near = torch.from_numpy(index.descriptors(index.search(sought, 5)[0][0]))
        sought = expand(torch.from_numpy(query), near[None], 1.0).numpy()
    index.search(sought, count)


def added_ms(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """By way and size of gallery: milliseconds beyond one search."""
    load_faiss().omp_set_num_threads(1)
    added: dict[str, list[float]] = {"neighbours": [], "expanded": [], "twice": []}
    for count in GALLERIES:
        values = descriptors(count, arguments.descriptor_size, seed=1)
        index = RecallIndex(build_index(values, "flat"), RecallSettings(device="cpu"))
        query = descriptors(1, arguments.descriptor_size, seed=2, photos=count)
        sides = {way: partial(search, index, query, arguments.candidates, way) for way in ("plain", *added)}
        turns = take_turns(sides, 40, clock=CLOCKS[arguments.clock])
        for way, values_ms in added.items():
            values_ms.append(turns.ms(way) - turns.ms("plain"))
    return added


def ways(lab: Lab, arguments: argparse.Namespace, added: dict[str, list[float]]) -> None:
    count, plain = arguments.candidates, lab.sketches.descriptor
    table = Table(
        "candidates",
        f"Candidates, {len(lab.sketches)} sketches, {len(lab.photos)} photos, {count} related",
        {
            "way": "way",
            "recall_map": "recall alone: mAP@200",
            "recall_p10": "P@10",
            "relevant": "relevant among the candidates",
            "map_200": "two stages: mAP@200",
            "p10": "P@10 ",
            "added_10k": "added ms at 10 000",
            "added_100k": "at 100 000",
        },
    )

    def add(way: str, queries: Tensor, kind: str = "", candidates: Tensor | None = None) -> None:
        order = lab.order(queries)
        chosen = order[:, :count] if candidates is None else candidates
        recall, final = lab.quality(order), lab.quality(reordered(chosen, lab.scores(chosen, queries), order))
        cost = added.get(kind, [0.0, 0.0])
        table.add(
            way=way,
            recall_map=None if candidates is not None else recall[0],
            recall_p10=None if candidates is not None else recall[1],
            relevant=float(lab.relevant.gather(1, chosen).float().mean()),
            map_200=final[0],
            p10=final[1],
            added_10k=cost[0],
            added_100k=cost[1],
        )

    add("plain", plain)
    for first in (3, 5):
        chosen = neighbours(lab, lab.order(plain), first, count)
        add(f"neighbours of the first {first}", plain, "neighbours", chosen)
    for first, weight in ((3, 1.0), (5, 0.5), (5, 1.0), (5, 2.0), (10, 1.0)):
        add(f"expanded by the first {first}, weight {weight:g}", moved(lab, plain, first, weight), "expanded")
    add("expanded by the first 5, weight 1, twice", moved(lab, plain, 5, 1.0, rounds=2), "twice")
    table.finish(arguments)


def early_exit(lab: Lab, arguments: argparse.Namespace) -> None:
    rule, queries = lab.network.config.score, lab.queries
    order = lab.order(queries)
    candidates = order[:, : arguments.candidates]
    logits, scores = lab.related(candidates), lab.scores(candidates, queries)
    recall_part = scores - rule.relation_weight * logits
    table = Table(
        "early-exit",
        f"Relating fewer than {arguments.candidates} candidates",
        {
            "top_k": "top_k",
            "margin": "margin, deviations",
            "related": "share related",
            "kept": "of the full top_k found",
            "map_200": "mAP@200",
        },
    )
    for top_k in (5, 20):
        best = scores.topk(top_k, dim=1).indices
        for margin in (3.0, 2.0, 1.0, 0.0):
            ceiling = rule.relation_weight * (logits.mean() + margin * logits.std())
            stops = torch.full((len(scores),), arguments.candidates)
            for depth in range(arguments.candidates - STEP, max(FIRST, top_k) - 1, -STEP):
                entry = scores[:, :depth].topk(top_k, dim=1).values[:, -1]
                stops[recall_part[:, depth] + ceiling < entry] = depth
            reached = torch.arange(arguments.candidates) < stops[:, None]
            exits = torch.where(reached, scores, recall_part + rule.relation_weight * logits.mean())
            found = exits.topk(top_k, dim=1).indices
            same = (found[:, :, None] == best[:, None]).any(2).float().mean()
            quality = lab.quality(reordered(candidates, exits, order))
            table.add(
                top_k=top_k,
                margin=margin,
                related=float(stops.float().mean()) / arguments.candidates,
                kept=float(same),
                map_200=quality[0],
            )
    told = argparse.Namespace(
        **{**vars(arguments), "json": arguments.json and arguments.json.with_name("early-exit.json")}
    )
    table.finish(told)


def main() -> None:
    options = parser(__doc__)
    add_network(options)
    add_dataset(options, sketches=300, required=True)
    options.add_argument("--candidates", type=int, default=100)
    arguments = options.parse_args()
    header(arguments)
    network = load_checkpoint(arguments.checkpoint, "cpu")
    arguments.descriptor_size = network.descriptor_size
    lab = Lab.load(network, arguments)
    ways(lab, arguments, added_ms(arguments))
    rule = network.config.score
    if rule.relation_weight and not rule.standard.used:
        early_exit(lab, arguments)
    elif rule.relation_weight:
        print("\nThe score rule standardises over all candidates of a query, so none can be left out early.")
    else:
        print("\nThe checkpoint's score rule gives the relation no weight, so there is nothing to leave early.")


if __name__ == "__main__":
    main()
