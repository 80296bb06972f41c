"""Chooses and measures the score rules of queries that are more than a sketch, and how much an unliked photo subtracts.

    python train/query_rules.py CHECKPOINT --data DATA [--write NEW] [--only unseen.txt]

Everything is chosen on the ten validation categories, which the checkpoint was not trained on. Photos are found among
photos: each of 30 photos of a category searches the others. Words are the categories' names, and at most 40 sketches
of a category search. --write stores the rules for words and for photos with the checkpoint. A sketch beside words keeps
the sketch's rule. --only FILE chooses nothing, and measures what is stored on the categories that FILE names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from zse_lite import VALIDATION

from model.checkpoints.files import load_checkpoint, save_changed, with_config
from model.data.folders import read_folders
from model.data.splits import read_category_list
from model.evaluation.arms import relate_all
from model.evaluation.calibrate import CANDIDATES, choose_score_rule
from model.evaluation.encode import encode_items
from model.evaluation.metrics import average_precision, hit_at, precision_at, rank_photos
from model.evaluation.protocols import tie_order
from model.evaluation.text_queries import encode_texts
from model.networks.network import Network
from model.ranking.expansion import expand
from model.ranking.score import score_of
from model.score_rules import ExpansionRule, KindRules, ScoreRule
from model.text.sentence_encoder import readable
from model.types import Encoding

CHOSEN = ("text", "photo")
"""The kinds of query that get a rule of their own."""
EXPANSIONS = (ExpansionRule(), ExpansionRule(5, 0.5), ExpansionRule(5, 1.0), ExpansionRule(10, 1.0))
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)
SKETCHES, PHOTOS = 40, 30
"""How many of each category search."""
_OUT = -9.0  # the score of a photo that is not to be found


@dataclass(frozen=True)
class Task:
    """Encoded images of some categories.

    Attributes:
        sketches, photos: their encodings.
        sketch_labels, photo_labels: [S], [P] int64.
        names: [C, E] float32, where each category's name points; None without a map of words.
        order: [P] int64, which of two photos with equal scores comes first.
    """

    sketches: Encoding
    photos: Encoding
    sketch_labels: Tensor
    photo_labels: Tensor
    names: Tensor | None
    order: Tensor


@dataclass(frozen=True)
class Queries:
    """Queries of one kind.

    Attributes:
        descriptors: [Q, E] float32, L2-normalised.
        gallery: [P, E] float32, as the recall score takes them.
        relevant: [Q, P] bool.
        left_out: [Q, P] bool, photos that are not to be found.
        logits: [Q, P] float32, relation logits of the queries' sketches; zeros where nothing is related.
    """

    descriptors: Tensor
    gallery: Tensor
    relevant: Tensor
    left_out: Tensor
    logits: Tensor

    def recall(self, expansion: ExpansionRule, photos: Tensor, order: Tensor) -> Tensor:
        """[Q, P] recall scores, after an expansion by `photos` [P, E]."""
        asked = self.descriptors
        if expansion.neighbours:
            scores = (asked @ self.gallery.T).masked_fill(self.left_out, _OUT)
            asked = expand(asked, photos[rank_photos(scores, order)[:, : expansion.neighbours]], expansion.weight)
        return (asked @ self.gallery.T).masked_fill(self.left_out, _OUT)

    def ranking(self, rule: ScoreRule | None, photos: Tensor, order: Tensor) -> Tensor:
        """[Q, P] photos as a search with this rule orders them; None is recall without an expansion."""
        recall = self.recall(ExpansionRule() if rule is None else rule.expansion, photos, order)
        found = rank_photos(recall, order)
        if rule is None or rule.keeps_recall_order:
            return found
        first = found[:, :CANDIDATES]
        scores = score_of(rule, self.logits.gather(1, first).double(), recall.gather(1, first).double())
        places = scores.argsort(dim=1, descending=True, stable=True)
        return torch.cat([first.gather(1, places), found[:, CANDIDATES:]], dim=1)


def read_task(network: Network, data: Path, categories: tuple[str, ...]) -> Task:
    """Photos and at most 40 sketches of each category, encoded."""
    dataset = read_folders(data).only(categories)
    names = sorted(dataset.categories)
    sketches = [item for name in names for item in [one for one in dataset.sketches if one.category == name][:SKETCHES]]
    words = None if network.text_map is None else encode_texts(network, [readable(name) for name in names])
    return Task(
        encode_items(network, sketches),
        encode_items(network, dataset.photos),
        torch.tensor([names.index(item.category) for item in sketches]),
        torch.tensor([names.index(item.category) for item in dataset.photos]),
        words,
        tie_order(dataset.photos),
    )


def queries_of(network: Network, task: Task) -> Iterator[tuple[str, Queries]]:
    """The kinds of query, each over all photos of the task."""
    photos, unit = task.photos.descriptor, F.normalize(task.photos.descriptor, dim=1)
    drawn, labels = task.sketches, task.sketch_labels
    relevant = labels[:, None] == task.photo_labels
    none = torch.zeros_like(relevant)
    logits = relate_all(network, drawn, task.photos)
    yield "sketch", Queries(drawn.descriptor, photos, relevant, none, logits)
    if task.names is not None:
        both = F.normalize(drawn.descriptor + task.names[labels], dim=1)
        yield "sketch_and_more", Queries(both, photos, relevant, none, logits)
        told = torch.arange(len(task.names))[:, None] == task.photo_labels
        yield "text", Queries(task.names, photos, told, torch.zeros_like(told), torch.zeros(told.shape))
    shown = torch.cat(
        [torch.nonzero(task.photo_labels == one).flatten()[:PHOTOS] for one in sorted(set(labels.tolist()))]
    )
    itself = F.one_hot(shown, len(photos)).bool()
    alike = (task.photo_labels[shown][:, None] == task.photo_labels) & ~itself
    yield "photo", Queries(unit[shown], unit, alike, itself, torch.zeros(alike.shape))


def choose(task: Task, queries: Mapping[str, Queries]) -> KindRules:
    """The rules that show a person most, calibrated."""
    chosen: dict[str, ScoreRule] = {}
    for kind in CHOSEN:
        if kind not in queries:
            continue
        one = queries[kind]
        cosines = {rule: one.recall(rule, task.photos.descriptor, task.order) for rule in EXPANSIONS}
        result = choose_score_rule(one.logits, cosines, one.relevant, task.order, shares=(1.0,))
        chosen[kind] = result.rule
        print(json.dumps({"kind": kind, "expansion": asdict(result.rule.expansion)}), flush=True)
    return KindRules(**chosen)


def figures(ranking: Tensor, relevant: Tensor) -> dict[str, float]:
    """Quality of rankings [Q, K] of photos, of which `relevant` [Q, P] are right."""
    hits, count = relevant.gather(1, ranking), relevant.sum(dim=1)
    values = {
        "map_all": average_precision(hits, count),
        "precision_10": precision_at(hits, count, 10),
        "hit_1": hit_at(hits, count, 1),
        "hit_5": hit_at(hits, count, 5),
    }
    return {name: round(float(value.nanmean()), 4) for name, value in values.items()}


def feedback(task: Task, one: Queries, rule: ScoreRule) -> None:
    """What one round of marks gives: the first right and the first wrong result, which are not counted themselves."""
    photos, unit = task.photos.descriptor, F.normalize(task.photos.descriptor, dim=1)
    first = one.ranking(rule, photos, task.order)[:, :CANDIDATES]
    hits = one.relevant.gather(1, first)
    both = hits.any(dim=1) & (~hits).any(dim=1)
    asked, first, hits = one.descriptors[both], first[both], hits[both]
    right, wrong = (first.gather(1, each.int().argmax(dim=1, keepdim=True)) for each in (hits, ~hits))
    marked = torch.zeros_like(one.left_out[both]).scatter(1, torch.cat([right, wrong], dim=1), value=True)
    relevant = one.relevant[both] & ~marked
    rest = int((~marked).sum(dim=1).min())
    for liked in (0.0, 0.5, 1.0, 2.0):
        wanted = asked + liked * unit[right[:, 0]]
        for strength in STRENGTHS:
            moved = F.normalize(wanted - strength * wanted.norm(dim=1, keepdim=True) * unit[wrong[:, 0]], dim=1)
            again = replace(one, descriptors=moved, relevant=relevant, left_out=marked, logits=one.logits[both])
            for name, how in (("recall", replace(rule, relation_weight=0.0, recall_weight=1.0)), ("both stages", rule)):
                ranked = again.ranking(how, photos, task.order)[:, :rest]
                row = {"like_weight": liked, "unlike": strength, "arm": name, **figures(ranked, relevant)}
                print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", type=Path, help="the same checkpoint with the rules that were chosen")
    parser.add_argument("--only", type=Path, help="measure on these categories instead, and choose nothing")
    options = parser.parse_args()
    network = load_checkpoint(options.checkpoint)
    categories = tuple(read_category_list(options.only)) if options.only else VALIDATION
    with torch.inference_mode():
        task = read_task(network, options.data, categories)
        queries = dict(queries_of(network, task))
        rules = network.config.kinds if options.only else choose(task, queries)
        config = replace(network.config, kinds=rules)
        for kind, one in queries.items():
            for name, rule in (("plain recall", None), ("the rule", config.rule_for(kind))):
                ranked = one.ranking(rule, task.photos.descriptor, task.order)
                print(json.dumps({"kind": kind, "ordered_by": name, **figures(ranked, one.relevant)}), flush=True)
        feedback(task, queries["sketch"], network.config.score)
    if options.write:
        kept = load_checkpoint(options.checkpoint, dtype="float32", trainable=True)
        save_changed(with_config(kept, kinds=rules), options.write, options.checkpoint)


if __name__ == "__main__":
    main()
