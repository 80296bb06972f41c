"""The three networks and each part's share, with the same backbone, data, budget and seeds.

    python train/networks.py --data DATA --without test.txt --unseen test.txt --out runs/networks
    python train/networks.py --out runs/networks --table docs/networks.md

Both backbones are a trained checkpoint's and stay as they are; their feature maps are computed once and kept in the
folder, so that a run trains what stands behind them: tokens, descriptor and relation, in minutes on one core. Every
run of every seed adds a line to runs.jsonl; the same command continues, and skips what is there. Networks are measured
on unseen categories, which nothing here is chosen on: arms, steps and weights are fixed below.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from stored import BASE, BATCH, COMMON, ENCODER, MODALITIES, PREPROCESS, WIDTH, Prepared, prepare
from torch import Tensor
from torch.nn import functional as F

from index_builder.index.hash_codes import Hasher, fit_hasher, learnt_hasher
from model.config import NetworkConfig, RelationConfig
from model.data.items import Modality
from model.evaluation.arms import Arms
from model.evaluation.metrics import average_precision, precision_at, rank_photos
from model.networks.crossatnet import CrossAtNetConfig
from model.networks.encoder import Features, HybridEncoder
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network
from model.networks.text_aligned import TextAlignedConfig
from model.presets import ZSE_LITE0
from model.training.config import LossWeights
from model.training.material.batches import BatchMaker
from model.training.run.loop import Trainer
from model.training.run.preparation import build_objective
from model.types import Encoding

SEEDS = (1, 2, 3)
CROSS = replace(ZSE_LITE0.cross_attention, heads=4, hidden=WIDTH)
RELATION = RelationConfig(kind="pooled", width=64, hidden=(32,), bins=11)
CANDIDATES = 100
FIRST = 10  # photos whose precision is shown: reranking CANDIDATES leaves that of the first CANDIDATES as it was


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        name: of the line.
        network: what is trained.
        objective: its recipe's.
        weights: of the loss.
    """

    name: str
    network: NetworkConfig
    objective: Literal["contrastive", "crossatnet", "text-aligned"]
    weights: LossWeights


def crossatnet(name: str, *, attention: bool = False, bits: int = 0, **weights: float) -> Arm:
    network = CrossAtNetConfig(
        preset=name, preprocess=PREPROCESS, encoder=ENCODER, attention=attention, attention_width=64, hash_bits=bits
    )
    return Arm(name, network, "crossatnet", replace(COMMON, triplet=1.0, **weights))


def text_aligned(name: str, **weights: float) -> Arm:
    network = TextAlignedConfig(
        preset=name, preprocess=PREPROCESS, encoder=ENCODER, relation=RELATION, exchange=CROSS, text_heads=4
    )
    return Arm(name, network, "text-aligned", replace(COMMON, triplet=1.0, **weights))


def zse(name: str, **weights: float) -> Arm:
    network = replace(
        ZSE_LITE0, preset=name, preprocess=PREPROCESS, encoder=ENCODER, cross_attention=CROSS, relation=RELATION
    )
    return Arm(name, network, "contrastive", replace(COMMON, contrast=1.0, classify=0.5, **weights))


ARMS = (
    crossatnet("CrossATNet, triplet only"),
    crossatnet("CrossATNet, + attention", attention=True, attend=0.5),
    crossatnet("CrossATNet, + graph", attention=True, attend=0.5, graph=0.5),
    crossatnet("CrossATNet, + hash (all of it)", attention=True, bits=128, attend=0.5, graph=0.5, hash=0.5),
    text_aligned("Text-aligned, without text"),
    text_aligned("Text-aligned, + text (all of it)", sentences=0.5),
    zse("ZSE-SBIR, without names"),
    zse("ZSE-SBIR, + names (all of it)", text=0.5),
)
CONDITIONS = ("steps", "backbones", "data")
COLUMNS = {
    "map_recall": "recall",
    "map_relation": "relation",
    "map_two_stage": f"two stages at {CANDIDATES}",
    "map_fused": "fused",
    "p10_recall": f"P@{FIRST}, recall",
    "p10_two_stage": f"P@{FIRST}, two stages",
}


def run(arm: Arm, seed: int, steps: int, prepared: Prepared) -> dict[str, Any]:
    """Train one arm and measure it."""
    config = replace(BASE, objective=arm.objective, weights=arm.weights, steps=steps, seed=seed)
    network = build_network(arm.network, seed=seed)
    if not isinstance(network, EncoderNetwork) or not isinstance(network.encoder, HybridEncoder):
        raise TypeError("an arm without a hybrid encoder")
    if prepared.semantics.projection is not None:
        network.start_from(prepared.semantics.projection)
    missing = network.encoder.load_state_dict(prepared.backbones, strict=False)
    if missing.unexpected_keys:
        raise SystemExit(f"the backbones do not fit: {missing.unexpected_keys[:3]}")
    for name, parameter in network.encoder.named_parameters():
        parameter.requires_grad_("backbone" not in name)
    objective = build_objective(network, len(prepared.material.categories), config, prepared.semantics)
    trainer = Trainer(objective, config)
    batches = BatchMaker(prepared.material, PREPROCESS, config, **prepared.views)
    started = time.process_time()
    losses: dict[str, float] = {}
    trainer.run(batches, lambda _, found: losses.update(found))
    seconds = time.process_time() - started
    trained = trainer.network.eval()
    if not isinstance(trained, EncoderNetwork):
        raise TypeError("a network without an encoder")
    quality = measure(trained, prepared)
    return {
        "arm": arm.name,
        "seed": seed,
        "steps": steps,
        "backbones": prepared.origin,
        "data": prepared.images,
        "seen": len(prepared.material.categories),
        "images": [len(prepared.material.sketches), len(prepared.material.photos)],
        "tested": list(prepared.relevant.shape),
        **{name: round(value, 4) for name, value in quality.items()},
        "cpu_s": round(seconds),
        "loss": round(losses["loss"], 4),
        "weights": {name: value for name, value in asdict(arm.weights).items() if value},
    }


@torch.inference_mode()
def measure(network: EncoderNetwork, prepared: Prepared) -> dict[str, float]:
    """mAP@all of unseen categories by the four ways to rank, P@10 of two of them, and mAP by hash codes alone."""
    sketch, photo = (encode(network, prepared.unseen[name], name) for name in MODALITIES)
    logits = network.relate(sketch, photo).logit
    arms = Arms(sketch.descriptor, photo.descriptor, prepared.order, logits=logits)
    rows = torch.arange(len(sketch))
    ranked = {
        "recall": arms.recall(rows),
        "relation": arms.relation(rows),
        "two_stage": arms.two_stage(CANDIDATES)(rows),
        "fused": arms.fused(rows),
    }
    found = {name: quality_of(order, prepared.relevant) for name, order in ranked.items()}
    quality = {f"map_{name}": values[0] for name, values in found.items()}
    quality |= {f"p10_{name}": found[name][1] for name in ("recall", "two_stage")}
    if network.hash_projection is not None:
        seen = encode(network, prepared.views["photo_views"].features, "photo").descriptor
        hashers = {
            "learnt": learnt_hasher(network.hash_projection.numpy()),
            "itq": fit_hasher(F.normalize(seen, dim=1).numpy(), len(network.hash_projection)),
        }
        for name, hasher in hashers.items():
            agreement = signs(hasher, sketch.descriptor) @ signs(hasher, photo.descriptor).T
            order = rank_photos(agreement, prepared.order)
            quality[f"map_hash_{name}"] = quality_of(order, prepared.relevant)[0]
    return quality


def encode(network: EncoderNetwork, features: Features, modality: Modality) -> Encoding:
    """Encodings of stored features."""
    parts = zip(torch.split(features.fine, BATCH), torch.split(features.coarse, BATCH), strict=True)
    return Encoding.concatenate(
        [network.encode_features(Features(fine.float(), coarse.float()), modality) for fine, coarse in parts]
    )


def signs(hasher: Hasher, descriptors: Tensor) -> Tensor:
    """Codes as [n, bits] of -1 and 1."""
    projected = (descriptors - torch.from_numpy(hasher.centre)) @ torch.from_numpy(hasher.matrix).T
    return torch.where(projected >= 0, 1.0, -1.0)


def quality_of(order: Tensor, relevant: Tensor) -> tuple[float, float]:
    """mAP@all and P@10 of photos [Q, P] in order."""
    hits, count = relevant.gather(1, order), relevant.sum(dim=1)
    return float(average_precision(hits, count).mean()), float(precision_at(hits, count, FIRST).mean())


def conditions_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What runs must share to stand in one table; None where an earlier version did not write it down."""
    return tuple(line.get(name) for name in CONDITIONS)


def table_of(lines: list[dict[str, Any]]) -> str:
    """Means over seeds with their spread, arm by arm, and what was done."""
    lines = [line for line in lines if conditions_of(line) == conditions_of(lines[-1])]
    head = ["network", "seeds", *COLUMNS.values(), "CPU s"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for arm in ARMS:
        runs = [line for line in lines if line["arm"] == arm.name]
        if not runs:
            continue
        cells = [spread([line[key] for line in runs]) for key in COLUMNS]
        seconds = round(statistics.mean(line["cpu_s"] for line in runs))
        rows.append(f"| {arm.name} | {len(runs)} | {' | '.join(cells)} | {seconds} |")
    first = lines[0]
    images, tested = first["images"], first["tested"]
    said = [
        "",
        f"Mean and half the spread of the seeds. mAP@all of {tested[0]} sketches among {tested[1]} photos of "
        f"unseen categories, after {first['steps']} steps on {images[0]} sketches and {images[1]} photos of "
        f"{first['seen']} seen ones; backbones of {first['backbones']}.",
    ]
    hashed = [line for line in lines if "map_hash_learnt" in line]
    if hashed:
        learnt, fitted = (spread([line[f"map_hash_{name}"] for line in hashed]) for name in ("learnt", "itq"))
        said += [
            "",
            f"By 128-bit codes alone CrossATNet reaches mAP {learnt} with learnt ones and {fitted} with fitted ones.",
        ]
    return "\n".join([*rows, *said])


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def write_table(page: Path, lines: list[dict[str, Any]]) -> None:
    """Replace what stands between the marks on a page."""
    begin, end = "<!-- networks: begin -->", "<!-- networks: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} lacks the marks {begin} and {end}")
    page.write_text(f"{before}{begin}\n{table_of(lines)}\n{end}{after}", encoding="utf-8")


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of sketch/CATEGORY/* and photo/CATEGORY/*")
    parser.add_argument("--without", type=Path, action="append", default=[], help="file of categories to leave out")
    parser.add_argument("--unseen", type=Path, help="file of the categories to measure on")
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--backbones", default="zse-lite", help="checkpoint whose backbones all arms share")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--arms", nargs="*", help="only these; default all")
    parser.add_argument("--views", type=int, default=1, help="stored variations of each image")
    parser.add_argument("--per-category", type=int, default=16, help="sketches and photos of each seen category")
    parser.add_argument("--test-sketches", type=int, default=15, help="of each unseen category")
    parser.add_argument("--test-photos", type=int, default=35, help="of each unseen category")
    parser.add_argument("--prepare", action="store_true", help="store features and stop")
    parser.add_argument("--table", type=Path, help="only write the table into this page")
    return parser


def main() -> None:
    options = options_parser().parse_args()
    log = options.out / "runs.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if options.table:
        write_table(options.table, lines)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache.mkdir(parents=True, exist_ok=True)
    prepared = prepare(options)
    if options.prepare:
        return
    done = {(line["arm"], line["seed"], *conditions_of(line)) for line in lines}
    for seed in options.seeds:
        for arm in ARMS:
            if options.arms and arm.name not in options.arms:
                continue
            if (arm.name, seed, options.steps, prepared.origin, prepared.images) in done:
                continue
            line = run(arm, seed, options.steps, prepared)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
