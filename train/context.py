"""Chooses whether a checkpoint's candidates heed each other's scores, and shows what each of both steps gives.

    python train/context.py CHECKPOINT --data DATA [--write NEW] [--only unseen.txt]

All sketches of the ten validation categories, which the checkpoint was not trained on, search all their photos by the
checkpoint's own rule. Four variants of its second stage are measured: each score on its own, with neighbours, with a
kept place, and with both. --write stores what shows a person most (the mean of P@10, hit@1 and hit@5) among the
variants that cost no P@10 beside recall. --only FILE chooses nothing, and measures the same on the categories that FILE
names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from zse_lite import VALIDATION

from model.checkpoints.files import load_checkpoint, save_changed, with_config
from model.data.folders import read_folders
from model.data.splits import read_category_list
from model.evaluation.arms import Arms, expanded_queries, relate_candidates
from model.evaluation.calibrate import CANDIDATES, CONTEXT
from model.evaluation.encode import encode_items
from model.evaluation.metrics import average_precision, hit_at, precision_at
from model.evaluation.protocols import Rank, row_blocks, tie_order
from model.networks.network import Network
from model.ranking.score import mixture
from model.score_rules import ContextRule, ScoreRule

VARIANTS = {
    "alone": ContextRule(),
    "neighbours": replace(CONTEXT, place=0),
    "kept place": replace(CONTEXT, neighbours=0),
    "both": CONTEXT,
}


def arms_of(network: Network, data: Path, categories: tuple[str, ...]) -> tuple[Arms, torch.Tensor]:
    """Everything that the variants need: the recall's candidates related, and which photos are right [S, P] bool."""
    dataset = read_folders(data).only(categories)
    sketches, photos = (encode_items(network, items) for items in (dataset.sketches, dataset.photos))
    order = tie_order(dataset.photos)
    asked = expanded_queries(sketches.descriptor, photos.descriptor, order, network.config.score.expansion)
    arms = Arms(asked, photos.descriptor, order, drawn=sketches.descriptor)
    recalled = torch.cat([arms.recall(rows)[:, :CANDIDATES] for rows in row_blocks(len(sketches))])
    logits = relate_candidates(network, sketches, photos, recalled)
    names = sorted(dataset.categories)
    labels = [
        torch.tensor([names.index(one.category) for one in items]) for items in (dataset.sketches, dataset.photos)
    ]
    return replace(arms, candidates=recalled, candidate_logits=logits), labels[0][:, None] == labels[1]


def measured(arms: Arms, relevant: torch.Tensor, rule: ScoreRule) -> Iterator[tuple[str, dict[str, float]]]:
    """Recall, then each variant of the second stage, with what it reaches."""
    ranks: dict[str, Rank] = {"recall": arms.recall}
    for name, context in VARIANTS.items():
        ranks[name] = arms.two_stage(CANDIDATES, partial(mixture, replace(rule, context=context)))
    count = relevant.sum(dim=1)
    for name, rank in ranks.items():
        ranking = torch.cat([rank(rows) for rows in row_blocks(len(relevant))])
        hits = relevant.gather(1, ranking)
        values = {
            "hit_1": hit_at(hits, count, 1),
            "hit_5": hit_at(hits, count, 5),
            "precision_10": precision_at(hits, count, 10),
            "map_all": average_precision(hits, count),
        }
        yield name, {each: round(float(value.nanmean()), 4) for each, value in values.items()}


def chosen(reached: dict[str, dict[str, float]]) -> str:
    """The variant to store: see above. Without one that costs no P@10, each score counts on its own."""
    fit = [name for name in VARIANTS if reached[name]["precision_10"] >= reached["recall"]["precision_10"]]
    seen = {name: sum(reached[name][each] for each in ("hit_1", "hit_5", "precision_10")) for name in fit}
    return max(fit, key=lambda name: seen[name], default="alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", type=Path, help="the same checkpoint with the context that was chosen")
    parser.add_argument("--only", type=Path, help="measure on these categories instead, and choose nothing")
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--only chooses nothing that --write could store")
    network = load_checkpoint(options.checkpoint)
    rule: ScoreRule = network.config.score
    categories = tuple(read_category_list(options.only)) if options.only else VALIDATION
    reached = {}
    with torch.inference_mode():
        for name, values in measured(*arms_of(network, options.data, categories), rule):
            print(json.dumps({"second_stage": name, **values}), flush=True)
            reached[name] = values
    if options.write:
        best = chosen(reached)
        kept = load_checkpoint(options.checkpoint, dtype="float32", trainable=True)
        save_changed(with_config(kept, score=replace(rule, context=VARIANTS[best])), options.write, options.checkpoint)
        print(json.dumps({"stored": best}))


if __name__ == "__main__":
    main()
