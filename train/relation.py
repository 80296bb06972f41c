"""Train the relation alone, on stored encodings of an encoder that stays as it is.

    python train/relation.py CHECKPOINT TARGET --data DATA --without test.txt

Encoding is most of a training step's work on a CPU and the relation needs many steps, so each image is varied and
encoded once, and the relation then sees as many pairs as it likes. Half of the wrong photos are drawn from all, half
from the --nearest by the descriptor. With --matching the relation starts as a comparison of whitened tokens
(`model/training/run/matching_start.py`) and only learns how to read it. With --beside, half of the loss reads the sum
of logit and cosine, so that the relation learns what the descriptor lacks. A whitening of descriptors is fitted first.
The score rule is chosen on the validation categories of `train/zse_lite.py`.
"""

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from zse_lite import VALIDATION

from model.checkpoints.files import load_checkpoint, load_tensors, save_checkpoint
from model.config import PreprocessConfig
from model.data.arrays import ImageArrays, decode
from model.data.augment import augment_photos, augment_sketches
from model.data.folders import read_folders
from model.data.items import Dataset, Item, Modality
from model.data.splits import read_category_list, reserved_categories
from model.data.strengths import PhotoAugment, SketchAugment
from model.evaluation.seen import learnt_from
from model.networks.network import Network
from model.networks.registry import build_network
from model.networks.zse_sbir import ZseNetwork
from model.training.material.holdout import thinned
from model.training.material.material import load_material
from model.training.objectives.losses import relation_decide, relation_rank
from model.training.run.fit_whitening import fit_whitening
from model.training.run.matching_start import start_matching
from model.training.run.preparation import WHITENING
from model.training.run.run import reached
from model.training.run.validation import validate
from model.training.sampling import generator_for
from model.types import Encoding

BATCH = 64
KINDS: tuple[Modality, Modality] = ("sketch", "photo")


def sampled(dataset: Dataset, modality: Modality, per_category: int, seed: int) -> Dataset:
    """At most so many images of one modality of each category."""
    groups: dict[str, list[Item]] = {}
    for item in dataset.items:
        if item.modality == modality:
            groups.setdefault(item.category, []).append(item)
    draw = random.Random(seed)
    return Dataset(tuple(i for g in groups.values() for i in draw.sample(g, min(per_category, len(g)))), dataset.name)


@torch.no_grad()
def encoded(
    network: Network, images: ImageArrays, modality: Modality, preprocess: PreprocessConfig, seed: int
) -> Encoding:
    """Encodings of one variation of each image; tokens in bfloat16."""
    parts = []
    for start in range(0, len(images), BATCH):
        pixels = images.pixels[start : start + BATCH].to(network.device)
        noise = generator_for(seed, start, 0, 5 + (modality == "sketch"), network.device)
        varied = (
            augment_sketches(pixels, preprocess, SketchAugment(), noise)
            if modality == "sketch"
            else augment_photos(pixels, preprocess, PhotoAugment(), noise)
        )
        with torch.autocast(network.device.type, dtype=torch.bfloat16):
            part = network.encode_sketch(varied) if modality == "sketch" else network.encode_photo(varied)
        parts.append(replace(part, tokens=part.tokens.bfloat16()))
        print(f"\rencoding {modality} {start + len(pixels)}/{len(images)}", end="", flush=True)
    print()
    return Encoding.concatenate(parts)


def labelled(images: ImageArrays, dataset: Dataset) -> ImageArrays:
    """The same images with labels of the dataset's categories: one scale for sketches and photos."""
    labels = torch.tensor([dataset.label(item) for item in images.items], device=images.labels.device)
    return replace(images, labels=labels, categories=dataset.categories)


def with_whitening(network: ZseNetwork) -> ZseNetwork:
    """The same network with a whitening, which changes nothing before it is fitted."""
    if network.whitening is not None:
        return network
    whitened = build_network(replace(network.config, encoder=replace(network.config.encoder, whitened=True)), None)
    own = {name: value for name, value in whitened.state_dict().items() if name.startswith(WHITENING)}
    load_tensors(whitened, {**network.state_dict(), **own}, "the network")
    if not isinstance(whitened, ZseNetwork):
        raise TypeError("a ZSE-SBIR network stays one")
    return whitened


def relation_parameters(network: ZseNetwork) -> list[nn.Parameter]:
    """What is trained: cross-attention and relation network."""
    network.requires_grad_(requires_grad=False)
    parts = [network.cross_attention, network.relation]
    for part in parts:
        part.requires_grad_(requires_grad=True)
    return [parameter for part in parts for parameter in part.parameters()]


def choices(similarity: Tensor, same: Tensor, wrong: int, nearest: int, draws: torch.Generator) -> Tensor:
    """For each row one right column at random, and wrong ones: half of the nearest, half of all. -> [S, 1 + wrong]."""
    noise = torch.rand(similarity.shape, generator=draws)
    right = noise.masked_fill(~same, -1.0).argmax(dim=1, keepdim=True)
    count = min(nearest, int((~same).sum(dim=1).min()))
    near = similarity.masked_fill(same, -torch.inf).topk(count, dim=1).indices
    hard = near.gather(1, torch.rand(near.shape, generator=draws).topk(wrong - wrong // 2, dim=1).indices)
    easy = noise.masked_fill(same, -1.0).topk(wrong // 2, dim=1).indices
    return torch.cat([right, hard, easy], dim=1)


def fit(network: ZseNetwork, sketch: Encoding, photo: Encoding, same: Tensor, options: argparse.Namespace) -> None:
    """Train the relation on S sketches and P photos; `same` [S, P] says which belong together."""
    similarity = (sketch.descriptor @ photo.descriptor.T).cpu()
    if options.matching:
        some = [
            torch.randperm(len(part), generator=generator_for(options.seed, 0, 0, 9))[:2000] for part in (sketch, photo)
        ]
        parameters = start_matching(network, sketch[some[0]], photo[some[1]], options.seed)
    else:
        parameters = relation_parameters(network)
    optimiser = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=options.steps, pct_start=0.1)
    started = time.time()
    for step in range(options.steps):
        draws = generator_for(options.seed, step, 0, purpose=7)
        rows = torch.randperm(len(sketch), generator=draws)[: options.sketches]
        columns = choices(similarity[rows], same[rows], options.wrong, options.nearest, draws)
        repeated = rows[:, None].expand_as(columns).flatten()
        with torch.autocast(network.device.type, dtype=torch.bfloat16):
            logit, _, _ = network.relate_aligned(sketch[repeated], photo[columns.flatten()])
        logit = logit.float().view(columns.shape)
        loss = relation_rank(logit) + 0.5 * relation_decide(logit)
        if options.beside:
            both = logit + options.beside * similarity[rows].gather(1, columns).to(logit.device)
            loss = (loss + relation_rank(both)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, max_norm=5.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 20 == 0:
            right = float((logit.argmax(dim=1) == 0).float().mean())
            print(
                json.dumps(
                    {
                        "step": step + 1,
                        "loss": round(float(loss), 4),
                        "right": round(right, 3),
                        "seconds": round(time.time() - started),
                    }
                ),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--without", type=Path, action="append", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--per-category", type=int, default=45, help="sketches and photos encoded of each")
    parser.add_argument(
        "--steps", type=int, default=400, help="0 keeps the relation, and only whitens and chooses the rule"
    )
    parser.add_argument("--sketches", type=int, default=48, help="a step")
    parser.add_argument("--wrong", type=int, default=5, help="wrong photos per sketch")
    parser.add_argument("--nearest", type=int, default=60, help="photos that half of the wrong ones are drawn from")
    parser.add_argument("--matching", action="store_true", help="start from whitened tokens")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--beside", type=float, default=0.0, help="weight of the cosine in half of the loss")
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()
    if options.matching and not options.steps:
        parser.error("--matching needs steps: what it starts is of no use before it has learnt to read")

    network = load_checkpoint(options.checkpoint, dtype="float32", trainable=True)
    if not isinstance(network, ZseNetwork):
        raise SystemExit("this recipe trains the relation of a ZSE-SBIR network")
    network = with_whitening(network)
    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    seen = read_folders(options.data).without(left_out)
    train = seen.without(VALIDATION)
    larger = replace(network.preprocess, image_size=256)
    few = {kind: sampled(train, kind, options.per_category, options.seed) for kind in KINDS}
    sketches, photos = (
        labelled(decode(few[kind], kind, larger, cache=options.cache, skip_damaged=True), train) for kind in KINDS
    )
    fit_whitening(network.eval(), sketches, photos, options.seed)
    if options.steps:
        sketch = encoded(network, sketches, "sketch", network.preprocess, options.seed)
        photo = encoded(network, photos, "photo", network.preprocess, options.seed)
        fit(network, sketch, photo, sketches.labels[:, None] == photos.labels[None, :], options)

    held_out = load_material(
        thinned(seen.only(VALIDATION)),
        None,
        network.preprocess,
        side=network.preprocess.image_size,
        device=network.device,
        cache=options.cache,
    )
    validation = validate(network.eval(), held_out.sketches, held_out.photos)
    chosen = validation.choose_rule()
    network.config = replace(network.config, score=chosen.rule)
    print(json.dumps({**validation.figures(), **reached(chosen)}))
    story = {"training": json.dumps({"categories": learnt_from(options.checkpoint, train.categories)})}
    digest = save_checkpoint(network, options.target, torch.float16, story)
    print(json.dumps({"saved": str(options.target), "sha256": digest}))


if __name__ == "__main__":
    main()
