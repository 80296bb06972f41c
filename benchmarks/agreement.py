"""Whether the service finds what the evaluation measures: one ranking over HTTP, in this process, and as `evaluate`.

    sketchseek gallery build DATA/photo --gallery GALLERY
    sketchseek serve --gallery GALLERY --port 8000
    python benchmarks/agreement.py --url http://127.0.0.1:8000 --gallery GALLERY --sketches DATA/sketch

DATA holds sketch/CATEGORY/* and photo/CATEGORY/*. A balanced sample of the sketches is searched for over HTTP and with
the same searcher in this process. Both must give every sketch the same photos in the same order, except where scores
differ by less than rounding; otherwise the exit code is 1. Use the service's device and arithmetic.

--photos DATA/photo also ranks as `sketchseek evaluate` does, with all photos encoded anew and tokens as the network
makes them, not as a gallery stores them. The difference is what storing costs. This takes as long as a build.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from shared_options import add_network
from torch import Tensor

from model.data.folders import read_categories
from model.data.items import Item, category_key
from model.evaluation import metrics
from model.evaluation.protocols import balanced_sample, tie_order

if TYPE_CHECKING:
    from app.search.searcher import TwoStageSearcher
    from index_builder import GallerySnapshot
    from model.networks.network import Network

ROUNDING = 2e-5
"""Scores in [0, 1] nearer than this may change places: sums in another order, or in a batch of another size."""


@dataclass(frozen=True)
class Ranking:
    """The first photos found for one sketch: ids, and the scores that order them."""

    photos: list[str]
    scores: list[float]


def over_http(url: str, key: str | None, sketches: Sequence[Item], depth: int) -> list[Ranking]:
    """What a running service answers."""
    from sketchseek_client import Client, ServiceAnswerError

    answers = []
    with Client(url, key, timeout_s=120) as client:
        for item in sketches:
            while True:
                try:
                    answers.append(client.search(item.path, top_k=depth, candidates=depth).results)
                    break
                except ServiceAnswerError as error:
                    if error.retry_after_s is None:
                        raise
                    time.sleep(error.retry_after_s)  # a busy service says when to come again
    return [Ranking([one.photo_id for one in found], [one.score for one in found]) for found in answers]


def in_this_process(searcher: TwoStageSearcher, sketches: Sequence[Item], depth: int) -> list[Ranking]:
    """What the searcher finds in the same gallery."""
    from app.search.query_and_answer import Query
    from model.images.opening import open_image
    from model.images.preprocess import SKETCH_LONGEST_SIDE

    rankings = []
    for item in sketches:
        image = open_image(item.path, longest_side=SKETCH_LONGEST_SIDE)
        found = searcher.search(image, Query(top_k=depth, candidates=depth)).results
        rankings.append(Ranking([one.photo.photo_id for one in found], [one.score for one in found]))
    return rankings


def as_evaluated(network: Network, sketches: Sequence[Item], photos: Sequence[Item], depth: int) -> Tensor:
    """[S, depth] int64, rows of `photos`: recall's first by the checkpoint's rule, nothing stored in between."""
    from model.evaluation.arms import Arms, checkpoint_fusion, expanded_queries, relate_candidates
    from model.evaluation.encode import encode_items

    drawn = encode_items(network, sketches)
    encoded = encode_items(network, photos, progress=_said("photos encoded"))
    order = tie_order(photos)
    asked = expanded_queries(drawn.descriptor, encoded.descriptor, order, network.config.score.expansion)
    arms = Arms(asked, encoded.descriptor, order, drawn=drawn.descriptor)
    rows = torch.arange(len(sketches))
    candidates = arms.recall(rows)[:, :depth]
    logits = relate_candidates(network, drawn, encoded, candidates)
    related = replace(arms, candidates=candidates, candidate_logits=logits)
    return related.two_stage(depth, checkpoint_fusion(network))(rows)[:, :depth]


def differences(one: Ranking, other: Ranking) -> tuple[str, float]:
    """ "equal", "ties" (other places, within rounding) or "other", and the largest difference of a score at a rank."""
    if len(one.photos) != len(other.photos):
        return "other", float("inf")
    apart = max((abs(a - b) for a, b in zip(one.scores, other.scores, strict=True)), default=0.0)
    if one.photos == other.photos:
        return ("equal" if apart <= ROUNDING else "other"), apart
    known = dict(zip(other.photos, other.scores, strict=True))
    for photo, score in zip(one.photos, one.scores, strict=True):
        # A photo that the other list does not have must have lost the last place of it by a hair.
        if abs(known.get(photo, other.scores[-1]) - score) > ROUNDING:
            return "other", apart
    return ("ties" if apart <= ROUNDING else "other"), apart


def figures(hits: Tensor, relevant: Tensor) -> dict[str, Tensor]:
    """Metric -> [S] of the rankings' first photos: hits [S, depth] bool, relevant [S] in the whole gallery."""
    values = {"hit@5": metrics.hit_at(hits, relevant, 5)}
    values |= {f"P@{k}": metrics.precision_at(hits, relevant, k) for k in (10, 100) if k <= hits.shape[1]}
    return {**values, f"mAP@{hits.shape[1]}": metrics.average_precision(hits, relevant, hits.shape[1])}


def hits_of(rankings: Sequence[Ranking], labels: Sequence[str], category_of: dict[str, str], depth: int) -> Tensor:
    """[S, depth] bool: whether the photo at each rank is of the sketch's category."""
    hits = torch.zeros(len(rankings), depth, dtype=torch.bool)
    for row, (ranking, label) in enumerate(zip(rankings, labels, strict=True)):
        for place, photo in enumerate(ranking.photos):
            hits[row, place] = category_of[photo] == label
    return hits


def categories_of(snapshot: GallerySnapshot) -> dict[str, str]:
    """Photo id -> category: the folder of the gallery's root that the photo lies in."""
    photos = (snapshot.photo(row) for row in range(len(snapshot)))
    return {photo.photo_id: category_key(photo.path.partition("/")[0]) for photo in photos}


def _said(what: str) -> Callable[[int, int], None]:
    def say(done: int, total: int) -> None:
        print(f"\r{done} of {total} {what}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    return say


def main(given: Sequence[str] | None = None) -> int:
    from app.search.searcher import TwoStageSearcher
    from index_builder import GallerySnapshot
    from model.checkpoints.files import load_checkpoint

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the running service")
    parser.add_argument("--key", help="its read key, where it has one")
    parser.add_argument("--gallery", required=True, help="the gallery that it serves")
    parser.add_argument("--sketches", type=Path, required=True, help="folder of CATEGORY/*")
    parser.add_argument("--photos", type=Path, help="folder of the gallery's photos: rank as `evaluate` does as well")
    parser.add_argument("--count", type=int, default=140, help="sketches, equally many of each category")
    parser.add_argument("--depth", type=int, default=200, help="candidates and results")
    parser.add_argument("--seed", type=int, default=0)
    add_network(parser, device="auto")
    arguments = parser.parse_args(given)

    network = load_checkpoint(arguments.checkpoint, arguments.device)
    snapshot = GallerySnapshot.load(
        arguments.gallery, network.identity, device=network.device, dtype=network.dtype, cache_bytes=0
    )
    category_of = categories_of(snapshot)
    known = set(category_of.values())
    found = read_categories(arguments.sketches, "sketch").where(lambda item: category_key(item.category) in known).items
    sketches = [found[row] for row in balanced_sample(found, arguments.count, arguments.seed)]
    labels = [category_key(item.category) for item in sketches]
    relevant = torch.tensor([sum(category == label for category in category_of.values()) for label in labels])
    depth = min(arguments.depth, len(snapshot))

    served = over_http(arguments.url, arguments.key, sketches, depth)
    here = in_this_process(TwoStageSearcher(network, snapshot), sketches, depth)
    ways = {
        "over HTTP": hits_of(served, labels, category_of, depth),
        "in this process": hits_of(here, labels, category_of, depth),
    }
    if arguments.photos is not None:
        photos = read_categories(arguments.photos, "photo").items
        ranked = as_evaluated(network, sketches, photos, depth)
        of_photo = [category_key(photo.category) for photo in photos]
        ways["as evaluated"] = torch.tensor(
            [[of_photo[row] == label for row in rows] for rows, label in zip(ranked.tolist(), labels, strict=True)]
        )
    print(f"{len(sketches)} sketches of {len(set(labels))} categories, {len(snapshot)} photos, {depth} candidates")
    for name, hits in ways.items():
        values = figures(hits, relevant)
        print(f"{name:16}" + "  ".join(f"{metric} {float(value.mean()):.4f}" for metric, value in values.items()))
    print(f"{'chance':16}" + f"P@10 {float((relevant / len(snapshot)).mean()):.4f}")
    compared = [differences(one, other) for one, other in zip(served, here, strict=True)]
    counted = {kind: sum(one == kind for one, _ in compared) for kind in ("equal", "ties", "other")}
    print(
        f"rankings over HTTP and in this process: {counted['equal']} equal, {counted['ties']} but for photos whose "
        f"scores differ by less than {ROUNDING:g}, {counted['other']} different; "
        f"largest difference of a score {max(apart for _, apart in compared):.1e}"
    )
    return 1 if counted["other"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
