"""Gives a checkpoint a map of words, fitted on its training categories.

    python train/text_map.py CHECKPOINT TARGET --data DATA --data PAIRS --strokes strokes.ndjson.gz --without test.txt

The map leads from embeddings of names to descriptors (`model/layers/text_map.py`). It is fitted on a sample of photos,
and of Quick, Draw! drawings, which show categories that have no photos. Nothing that encodes or relates is changed, so
galleries stay as they are. Categories that published benchmarks test on are left out, and so are those of --without and
the validation categories. With --choose nothing is written: penalties are compared on the validation categories.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from zse_lite import VALIDATION

from model.checkpoints.files import find_checkpoint, load_checkpoint, read_checkpoint, save_changed
from model.data.folders import read_folders
from model.data.items import Dataset, Item, category_key
from model.data.splits import read_category_list, reserved_categories
from model.data.strokes import read_strokes
from model.evaluation.arms import expanded_queries
from model.evaluation.encode import encode_usable
from model.evaluation.metrics import average_precision, hit_at, rank_photos
from model.evaluation.protocols import generalised, tie_order
from model.layers.text_map import PENALTY, TextMap
from model.networks.encoder_network import EncoderNetwork
from model.score_rules import ScoreRule
from model.training.material.holdout import thinned
from model.training.material.name_embeddings import embed_phrases
from model.training.run.fit_text_map import give_text_map
from model.training.run.fit_whitening import PER_CATEGORY

DRAWINGS = 10  # of each category
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
ASKING = 400  # validation sketches that --choose asks with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, action="append", required=True, help="holds photo/CATEGORY/*; repeatable")
    parser.add_argument("--strokes", type=Path, help="Quick, Draw! strokes, .ndjson or .ndjson.gz")
    parser.add_argument("--without", type=Path, action="append", default=[])
    parser.add_argument("--choose", action="store_true", help="compare penalties instead")
    options = parser.parse_args()
    if options.target is None and not options.choose:
        parser.error("TARGET is missing")

    network = load_checkpoint(options.checkpoint, dtype="float32", trainable=True)
    if not isinstance(network, EncoderNetwork):
        raise SystemExit("this network has no descriptors that a map could lead to")
    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    everything = Dataset(())
    for folder in options.data:
        everything = everything.joined(read_folders(folder))
    everything = everything.without(left_out)
    known = everything.without(VALIDATION)
    items = list(thinned(known, PER_CATEGORY, PER_CATEGORY).photos)
    if options.strokes:
        items += thinned(read_strokes(options.strokes).without([*left_out, *VALIDATION]), DRAWINGS).items
    images, kept = encoded(network, items)
    whole = Dataset(tuple(kept))
    tower = None if network.text_map is None else network.text_map.tower
    names, labels = embed_phrases(whole.categories, tower), torch.tensor([whole.label(item) for item in kept])
    print(json.dumps({"images": len(kept), "categories": len(whole.categories)}), flush=True)
    if options.choose:
        choose(network, (images, names, labels), everything)
        return
    give_text_map(network, images, names, labels, PENALTY, tower=tower)
    digest = save_changed(network, options.target, options.checkpoint)
    before, after = (read_checkpoint(find_checkpoint(one))[1] for one in (options.checkpoint, options.target))
    changed = [name for name, value in before.items() if name in after and not torch.equal(value, after[name])]
    print(json.dumps({"saved": str(options.target), "sha256": digest, "changed": changed}))


def encoded(network: EncoderNetwork, items: list[Item]) -> tuple[Tensor, list[Item]]:
    """Descriptors [M, E] of photos and sketches, and the items that could be used."""
    parts, kept = [], []
    for modality in ("photo", "sketch"):
        own = [item for item in items if item.modality == modality]
        if own:
            part = encode_usable(network, own)
            parts.append(part.encoding.descriptor)
            kept += [item for row, item in enumerate(own) if row not in part.unusable]
    return torch.cat(parts), kept


def choose(network: EncoderNetwork, material: tuple[Tensor, Tensor, Tensor], everything: Dataset) -> None:
    """Text, sketch, and both, for each penalty: among the validation categories' photos, and among all photos."""
    validation = everything.only(VALIDATION)
    sketches, asked = encoded(network, list(thinned(validation, ASKING // len(VALIDATION), 1).sketches))
    photos, found = encoded(network, list(everything.photos))
    named = [Item(Path(name), name, "sketch") for name in VALIDATION]
    names = embed_phrases(VALIDATION, None if network.text_map is None else network.text_map.tower)
    own = [row for row, item in enumerate(found) if category_key(item.category) in map(category_key, VALIDATION)]
    score: ScoreRule = network.config.score
    for penalty in (None, *PENALTIES):
        queries: dict[str, tuple[list[Item], Tensor]] = {"sketch": (asked, sketches)}
        if penalty is not None:
            words = TextMap(names.shape[1], network.descriptor_size)
            words.fit(*material, penalty)
            said = dict(zip(VALIDATION, words(names), strict=True))
            both = F.normalize(sketches + torch.stack([said[item.category] for item in asked]), dim=-1)
            queries = {"text": (named, words(names)), "both": (asked, both)}
        row: dict[str, object] = {"penalty": penalty}
        for name, (items, descriptors) in queries.items():
            for gallery, rows in (("validation", own), ("all", list(range(len(found))))):
                task = generalised(items, [found[place] for place in rows])
                order = tie_order(task.photos)
                moved = expanded_queries(descriptors, photos[rows], order, score.expansion)
                relevant = task.sketch_labels[:, None] == task.photo_labels[None, :]
                hits = relevant.gather(1, rank_photos(moved @ photos[rows].T, order))
                count = relevant.sum(dim=1)
                quality = average_precision(hits, count).mean(), hit_at(hits, count, 5).mean()
                row[f"{name} among {gallery}"] = [round(float(value), 3) for value in quality]
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
