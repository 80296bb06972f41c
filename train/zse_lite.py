"""The recipe of the bundled checkpoint, and the variants it was compared with under equal budgets.

    python train/zse_lite.py --data DATA --extra SKETCHES --strokes strokes.ndjson.gz --variant base --steps 600

DATA holds sketch/CATEGORY/* and photo/CATEGORY/*. Categories that published benchmarks test on, and those given by
--without, are left out. Without --final, ten of the others are held out for validation: variants are chosen on them
alone. With --final, everything is trained on, with the score rule that validation chose (--score-from CHECKPOINT).
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.checkpoints.files import read_checkpoint, resolve_device
from model.config import EncoderConfig, ZseConfig
from model.data.folders import read_categories, read_folders
from model.data.items import Dataset
from model.data.pairs import pairs_by_name
from model.data.splits import read_category_list, reserved_categories
from model.data.strokes import read_strokes
from model.networks.registry import preset
from model.networks.stored_config import score_rule_from_json
from model.training.config import CONTOURS_RECIPE, LossWeights, TrainConfig
from model.training.material.holdout import thinned
from model.training.run.run import RunPlan, train

VALIDATION = (
    "bear", "camera", "crab", "flamingo", "house", "kangaroo", "piano", "sheep", "strawberry", "teapot",
)  # fmt: skip

# For two CPU cores in two parts. First the sketch backbone learns to meet the photo backbone's features, which stay as
# ImageNet made them; then all but their last stages stay, and what stands behind them learns to relate, at full
# resolution.
BACKBONE = TrainConfig(
    steps=700,
    categories=16,
    per_category=4,
    extra_sketches=64,
    backbone_rate=0.2,
    warmup=50,
    ema=0.99,
    batch_norm="batch",
    image_size=160,
    frozen_stages=3,
    photo_views=2,
    validate_every=100,
    save_every=50,
    weights=LossWeights(rank=0.0, decide=0.0),
)
RELATION = replace(
    BACKBONE,
    steps=120,
    image_size=0,
    frozen_stages=6,
    photo_views=0,
    extra_sketches=0,
    warmup=10,
    ema=0.95,
    batch_norm="frozen",
    validate_every=0,
    save_every=20,
    weights=LossWeights(contrast=1.0, classify=0.25, text=0.25, distil=0.5, rank=1.0, decide=0.5),
)
# For comparing starting points and objectives on a CPU: all backbones stay as they are, so their features are stored.
FROZEN = replace(BACKBONE, steps=200, extra_sketches=0, sketch_views=2, batch_norm="frozen", validate_every=0)
# For a GPU, in one part.
BASE = TrainConfig(extra_sketches=64, validate_every=200, save_every=0)
# The same, with contours of photos and drawings whose photo is known.
CONTOURS = replace(CONTOURS_RECIPE, warmup=80, validate_every=400, save_every=0)
PARTS = {"base": BASE, "contours": CONTOURS, "backbone": BACKBONE, "frozen": FROZEN, "relation": RELATION}


def variant(name: str) -> tuple[ZseConfig, TrainConfig]:
    """Network and training configuration of a variant."""
    first, *changes = name.split("+")
    whole = first in {"base", "contours"}
    network, config = preset("zse-lite" if whole else "zse-lite0"), PARTS[first]
    weights = config.weights
    for part in changes:
        key, _, value = part.partition("=")
        if key == "plain":  # contrast and categories alone
            config, weights = replace(config, extra_sketches=0), replace(weights, text=0.0, distil=0.0)
        elif key in {"contrast", "classify", "text", "distil", "rank", "decide"}:
            weights = replace(weights, **{key: float(value)})
        elif key == "extra":
            config = replace(config, extra_sketches=int(value))
        elif key in {"rate", "lr", "ema", "objective", "temperature", "seed", "variation", "categories", "norm"}:
            config = replace(config, **_field(key, value))
        elif key in {"backbone", "shared", "depth", "keep"}:
            network = replace(network, encoder=_encoder(network.encoder, key, value))
        else:
            raise SystemExit(f"no variant is named {key!r}")
    return network, replace(config, weights=weights)


def _field(key: str, value: str) -> dict[str, Any]:
    names = {"rate": "backbone_rate", "lr": "learning_rate", "norm": "batch_norm"}
    kinds = {"seed": int, "variation": int, "categories": int, "norm": str, "objective": str}
    return {names.get(key, key): kinds.get(key, float)(value)}


def _encoder(encoder: EncoderConfig, key: str, value: str) -> EncoderConfig:
    if key == "backbone":
        return replace(encoder, backbone=value)
    if key == "shared":
        return replace(encoder, separate_backbones=False)
    if key == "depth":
        return replace(encoder, depth=int(value))
    return replace(encoder, keep_rates=())


def main() -> None:  # noqa: C901, PLR0915 (a recipe, read from top to bottom)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--per-category", type=int, help="train on so many sketches and photos of each, spread evenly")
    parser.add_argument("--extra", type=Path, help="folder of CATEGORY/* with more sketches")
    parser.add_argument("--strokes", type=Path, help="Quick, Draw! strokes, .ndjson or .ndjson.gz")
    parser.add_argument(
        "--without", type=Path, action="append", default=[], help="file of more categories to leave out"
    )
    parser.add_argument(
        "--pairs", type=Path, help="sketch/CATEGORY/* and photo/CATEGORY/*, named as Sketchy names pairs"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--variant", default="base")
    parser.add_argument("--steps", type=int, help="instead of the variant's own number")
    parser.add_argument("--initial", type=Path, help="checkpoint to begin from")
    parser.add_argument("--final", action="store_true", help="train on the validation categories too")
    parser.add_argument("--score-from", type=Path, help="checkpoint whose score rule to take, with --final")
    parser.add_argument("--recall-weight", type=float, default=0.0, help="instead: of the cosine beside the logit")
    options = parser.parse_args()

    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    paired = read_folders(options.data).without(left_out)
    pairs = None
    if options.pairs:
        drawn = read_folders(options.pairs).without([*left_out, *(() if options.final else VALIDATION)])
        paired, pairs = paired.joined(drawn), pairs_by_name(drawn)
    extra = Dataset(())
    if options.extra:
        extra = extra.joined(read_categories(options.extra, "sketch"))
    if options.strokes:
        extra = extra.joined(read_strokes(options.strokes))
    extra = extra.without(left_out)
    validation = None if options.final else thinned(read_folders(options.data).only(VALIDATION))
    if not options.final:
        paired, extra = paired.without(VALIDATION), extra.without(VALIDATION)

    if options.per_category:
        paired = thinned(paired, options.per_category, options.per_category)

    network, config = variant(options.variant)
    config = replace(config, steps=options.steps or config.steps)
    folder = options.runs / f"{options.variant}{'-final' if options.final else ''}-{config.steps}"
    folder.mkdir(parents=True, exist_ok=True)
    if options.final and options.score_from:
        metadata, _ = read_checkpoint(options.score_from)
        network = replace(network, score=score_rule_from_json(json.loads(metadata["config"])))
    elif options.final:
        weight = options.recall_weight
        network = replace(network, score=replace(network.score, recall_weight=weight, bias=-weight / 2))
    plan = RunPlan(
        folder=folder,
        train=paired,
        validation=validation,
        extra=extra if extra.items and config.extra_sketches else None,
        start="package",
        cache=options.runs / "cache",
        initial=options.initial,
        pairs=pairs,
    )
    started = time.time()
    with (folder / "log.jsonl").open("a") as log:

        def report(values: dict[str, Any]) -> None:
            if values.get("step", 0) % 20 == 0:
                log.write(json.dumps({**values, "minutes": round((time.time() - started) / 60, 2)}) + "\n")
                log.flush()
            if "validated" in values or "calibrated" in values or "saved" in values:
                print(options.variant, json.dumps(values), flush=True)

        train(network, config, plan, resolve_device("auto"), report)


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    main()
