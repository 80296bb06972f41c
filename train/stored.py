"""What all runs of `train/networks.py` share: stored features of seen and unseen images, soft targets, sentences."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.backbones.timm_backbones import create_classifier
from model.checkpoints.files import find_checkpoint, load_checkpoint, read_checkpoint
from model.config import PreprocessConfig
from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.data.folders import read_folders
from model.data.items import Dataset, Modality
from model.data.splits import read_category_list, reserved_categories
from model.evaluation.protocols import tie_order
from model.networks.encoder import Features, HybridEncoder
from model.networks.encoder_network import EncoderNetwork
from model.presets import ZSE_LITE
from model.training.config import LossWeights, TrainConfig
from model.training.material.holdout import thinned
from model.training.material.material import Material, load_material, with_names, with_teacher
from model.training.material.stored_views import Views
from model.training.material.teacher import semantics_of
from model.training.objectives.objective import Semantics
from model.training.run.preparation import with_sentences
from model.whole_file import whole_file

SIDE = 128  # pixels: an 8 x 8 grid
WIDTH = 128
BATCH = 64
MODALITIES: tuple[Modality, ...] = ("sketch", "photo")

PREPROCESS = PreprocessConfig(image_size=SIDE)
ENCODER = replace(
    ZSE_LITE.encoder,
    grid=SIDE // 16,
    width=WIDTH,
    depth=2,
    heads=4,
    keep_rates=((1, 0.6),),
    descriptor_size=WIDTH,
    whitened=False,
)
# What every arm learns from besides its own: old knowledge, and the relation's hard choices.
COMMON = LossWeights(contrast=0.0, classify=0.0, text=0.0, distil=1.0, rank=1.0, decide=0.5)
BASE = TrainConfig(
    categories=12,
    per_category=2,
    hard=3,
    easy=2,
    learning_rate=2e-3,
    warmup=10,
    ema=0.95,
    weights=COMMON,
    photo_views=1,
    sketch_views=1,
    validate_every=0,
    save_every=0,
)


@dataclass(frozen=True)
class Prepared:
    """What all runs share.

    Attributes:
        material: labels, names and soft targets of the seen categories.
        views: stored features of their sketches and photos.
        semantics: of the categories.
        unseen: plain features of the unseen categories' sketches and photos.
        relevant: [S, P] bool.
        order: [P], ties.
        backbones: state of both backbones.
        origin: which checkpoint they come from.
        images: digest of all images that are trained and measured on.
    """

    material: Material
    views: dict[str, Views]
    semantics: Semantics
    unseen: dict[Modality, Features]
    relevant: Tensor
    order: Tensor
    backbones: dict[str, Tensor]
    origin: str
    images: str


def stored_path(out: Path, checkpoint: str, images: str, options: argparse.Namespace) -> Path:
    """Where features are kept: of this checkpoint, these images and so many variations of each."""
    return out / f"features-{checkpoint[:12]}-{images}-{options.views}.safetensors"


def fingerprint(*parts: ImageArrays) -> str:
    """Digest of images: which they are, in which order and of which categories, and what they show.

    Features are stored under it, so that a folder that has changed is encoded again.
    """
    digest = hashlib.sha256()
    for part in parts:
        listed = [[item.modality, item.category, item.path.name, item.key] for item in part.items]
        digest.update(json.dumps([part.categories, listed, part.pixels.shape]).encode())
        digest.update(part.pixels.contiguous().numpy().data)
    return digest.hexdigest()[:12]


def prepare(options: argparse.Namespace) -> Prepared:
    """Decode, encode and teach once; features and targets are kept in the folder."""
    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    whole = read_folders(options.data)
    seen = thinned(whole.without(left_out), options.per_category, options.per_category)
    unseen = thinned(whole.only(read_category_list(options.unseen)), options.test_sketches, options.test_photos)
    device = torch.device("cpu")

    def material_of(dataset: Dataset) -> Material:
        return load_material(dataset, None, PREPROCESS, side=160, device=device, cache=options.cache, progress=tell)

    material, test = material_of(seen), material_of(unseen)
    material = with_names(material, options.cache / "names.safetensors")
    source = load_checkpoint(options.backbones, "cpu", "float32", trainable=True)
    if not isinstance(source, EncoderNetwork) or not isinstance(source.encoder, HybridEncoder):
        raise SystemExit("give a checkpoint with a hybrid encoder")
    digest = read_checkpoint(find_checkpoint(options.backbones))[0]["sha256"][:12]
    images = fingerprint(material.sketches, material.photos, test.sketches, test.photos)
    backbones = {
        key: value.clone()
        for key, value in source.encoder.state_dict().items()
        if key.split(".")[0].endswith("backbone")
    }
    stored = stored_path(options.out, digest, images, options)
    if not stored.is_file():
        kept: dict[str, Tensor] = {}
        for name in MODALITIES:
            learnt, tested = (part.sketches if name == "sketch" else part.photos for part in (material, test))
            made = Views(
                source,
                learnt.pixels,
                name,
                options.views,
                config=BASE,
                preprocess=PREPROCESS,
                progress=partial(tell, f"storing {name} views"),
            )
            kept |= {f"{name}.fine": made.features.fine, f"{name}.coarse": made.features.coarse}
            features = plain_features(source.encoder, tested.pixels, name)
            kept |= {f"unseen.{name}.fine": features.fine, f"unseen.{name}.coarse": features.coarse}
        classifier = create_classifier(ENCODER, "package")
        taught = with_teacher(material, classifier, PREPROCESS, options.cache / "names.safetensors")
        semantics = semantics_of(classifier, None, WIDTH)
        found = (taught.photo_targets, taught.sketch_targets, semantics.projection, semantics.classifier)
        for key, value in zip(("photo_targets", "sketch_targets", "projection", "classifier"), found, strict=True):
            if value is None:
                raise SystemExit("the backbone has nothing to teach")
            kept[key] = value
        with whole_file(stored) as unfinished:
            save_file({key: value.contiguous() for key, value in kept.items()}, unfinished)
    kept = load_file(stored)
    material = replace(material, photo_targets=kept["photo_targets"], sketch_targets=kept["sketch_targets"])
    semantics = Semantics(material.names, kept["classifier"].shape[0], kept["projection"], kept["classifier"])
    text = replace(BASE, weights=replace(COMMON, sentences=1.0))
    semantics = with_sentences(semantics, material, text, None, options.cache)
    views = {
        f"{name}_views": Views.of(Features(kept[f"{name}.fine"], kept[f"{name}.coarse"]), options.views)
        for name in MODALITIES
    }
    plain_of = {name: Features(kept[f"unseen.{name}.fine"], kept[f"unseen.{name}.coarse"]) for name in MODALITIES}
    relevant = test.sketches.labels[:, None] == test.photos.labels[None, :]
    origin = f"{Path(options.backbones).stem} {digest}"
    order = tie_order(test.photos.items)
    return Prepared(material, views, semantics, plain_of, relevant, order, backbones, origin, images)


@torch.inference_mode()
def plain_features(encoder: HybridEncoder, pixels: Tensor, modality: Modality) -> Features:
    """Feature maps of images as they are, in bfloat16."""
    parts = [encoder.features(plain(part, PREPROCESS), modality) for part in torch.split(pixels, BATCH)]
    return Features(*(torch.cat([getattr(part, name) for part in parts]).bfloat16() for name in ("fine", "coarse")))


def tell(what: str, done: int, total: int) -> None:
    if done % 500 == 0 or done == total:
        print(f"{what} {done}/{total}", flush=True)
