"""How well a checkpoint's descriptor ranks the validation categories, whitened anew, with and without query expansion.

    python train/validate.py CHECKPOINT --data DATA --without test.txt [--average OTHER --share 0.6] [--general]

Unlike validation in a run it takes all sketches and photos of the ten categories. With --average it measures the mean
of two checkpoints' weights, of which the first weighs --share. With --general it also measures a gallery that holds the
photos of the training categories as well, searched by validation sketches and by two sketches of each training
category (which were trained on), for several strengths by which familiar photos step back.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from relation import with_whitening
from torch import Tensor
from zse_lite import VALIDATION

from model.checkpoints.files import load_checkpoint
from model.data.arrays import ImageArrays, decode
from model.data.augment import plain
from model.data.folders import read_folders
from model.data.items import Dataset
from model.data.splits import read_category_list, reserved_categories
from model.evaluation.arms import expanded_queries
from model.evaluation.metrics import average_precision, precision_at, rank_photos
from model.evaluation.protocols import generalised, inter_category, tie_order
from model.networks.network import Network
from model.networks.zse_sbir import ZseNetwork
from model.score_rules import ExpansionRule
from model.training.material.holdout import thinned
from model.training.run.fit_whitening import PER_CATEGORY, fit_whitening

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
EXPANDED = ExpansionRule(5, 1.0)
RULES = (ExpansionRule(), ExpansionRule(5, 0.5), EXPANDED, ExpansionRule(10, 1.0))


def averaged(checkpoint: Path, other: Path | None, share: float) -> ZseNetwork:
    """The network of a checkpoint, or of the weighted mean of two."""
    network = load_checkpoint(checkpoint, dtype="float32", trainable=True)
    if not isinstance(network, ZseNetwork):
        raise SystemExit("only ZSE-SBIR networks are measured here")
    if other is not None:
        second = load_checkpoint(other, dtype="float32", trainable=True).state_dict()
        mean = {
            name: share * value + (1 - share) * second[name] if value.is_floating_point() else value
            for name, value in network.state_dict().items()
        }
        network.load_state_dict(mean)
    return with_whitening(network)


@torch.inference_mode()
def descriptors(network: Network, pixels: Tensor, modality: str) -> Tensor:
    """[N, E] of images [N, C, H, W] uint8, without variation."""
    encode = network.encode_sketch if modality == "sketch" else network.encode_photo
    with torch.autocast(network.device.type, dtype=torch.bfloat16):
        parts = [encode(plain(part.to(network.device), network.preprocess)) for part in torch.split(pixels, 64)]
    return torch.cat([part.descriptor.float().cpu() for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--without", type=Path, action="append", default=[])
    parser.add_argument("--average", type=Path, help="another checkpoint of the same network")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--general", action="store_true", help="also a gallery of seen and unseen categories")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()

    network = averaged(options.checkpoint, options.average, options.share).eval()
    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    seen = read_folders(options.data).without(left_out)
    sample = thinned(seen.without(VALIDATION), PER_CATEGORY, PER_CATEGORY)
    larger = replace(network.preprocess, image_size=256)
    images = {
        (part, kind): decode(dataset, kind, larger, cache=options.cache, skip_damaged=True)
        for part, dataset in (("train", sample), ("validation", seen.only(VALIDATION)))
        for kind in ("sketch", "photo")
    }
    with torch.autocast(network.device.type, dtype=torch.bfloat16):
        fit_whitening(network, images["train", "sketch"], images["train", "photo"], options.seed)
    if network.whitening is not None:
        network.whitening.familiarity.strength.zero_()  # --general varies it
    sketches, photos = images["validation", "sketch"], images["validation", "photo"]
    task = inter_category(sketches.items, photos.items)
    relevant, order = task.sketch_labels[:, None] == task.photo_labels[None, :], tie_order(task.photos)
    sketch = descriptors(network, sketches.pixels, "sketch")
    photo = descriptors(network, photos.pixels, "photo")
    for rule in RULES:
        figures = ranking(sketch, photo, relevant, order, rule)
        print(json.dumps({"neighbours": rule.neighbours, "weight": rule.weight, **figures}))
    if options.general:
        general(network, seen, (sketches, sketch), photos, options.cache)


def ranking(sketch: Tensor, photo: Tensor, relevant: Tensor, order: Tensor, rule: ExpansionRule) -> dict[str, float]:
    """Quality of photos [P, E] as sketches [S, E] find them; `relevant` [S, P]."""
    asked = expanded_queries(sketch, photo, order, rule)
    hits = relevant.gather(1, rank_photos(asked @ photo.T, order))
    count = relevant.sum(dim=1)
    return {
        "map_all": round(float(average_precision(hits, count).mean()), 4),
        "precision_10": round(float(precision_at(hits, count, 10).mean()), 4),
        "right_among_5": round(float(hits[:, :5].any(dim=1).float().mean()), 4),
    }


def general(
    network: ZseNetwork,
    seen: Dataset,
    validation: tuple[ImageArrays, Tensor],
    validation_photos: ImageArrays,
    cache: Path | None,
) -> None:
    """A gallery of seen and unseen categories, for each strength by which familiar photos step back."""
    if network.whitening is None:
        raise TypeError("it was whitened above")
    familiarity = network.whitening.familiarity
    larger = replace(network.preprocess, image_size=256)
    known = seen.without(VALIDATION)
    fitted = {item.path for item in thinned(known, PER_CATEGORY, PER_CATEGORY).sketches}
    others = replace(known, items=tuple(item for item in known.items if item.path not in fitted))
    sketches = decode(thinned(others, 2, 2), "sketch", larger, cache=cache, skip_damaged=True)
    photos = decode(known, "photo", larger, cache=cache, skip_damaged=True)
    familiarity.strength.zero_()
    asking = {
        "validation": (validation[0].items, validation[1]),
        "training": (sketches.items, descriptors(network, sketches.pixels, "sketch")),
    }
    items = (*validation_photos.items, *photos.items)
    alone = range(len(validation_photos))
    whole = torch.cat([descriptors(network, part.pixels, "photo") for part in (validation_photos, photos)])
    familiarity = familiarity.cpu()
    for strength in STRENGTHS:
        familiarity.strength.fill_(strength)
        shortened = familiarity(whole)
        row: dict[str, object] = {"strength": strength}
        for name, rows, by in (
            ("validation alone", alone, "validation"),
            ("validation", range(len(items)), "validation"),
            ("training", range(len(items)), "training"),
        ):
            asked, sketch = asking[by]
            task = generalised(asked, tuple(items[place] for place in rows))
            relevant = task.sketch_labels[:, None] == task.photo_labels[None, :]
            row[name] = ranking(sketch, shortened[list(rows)], relevant, tie_order(task.photos), EXPANDED)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
