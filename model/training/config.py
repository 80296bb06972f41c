"""How a network is trained: one frozen value, stored with every run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.data.augment import PhotoAugment, SketchAugment


@dataclass(frozen=True)
class LossWeights:
    """Share of each term in the loss; 0 turns a term off and skips its work.

    Attributes:
        contrast: supervised contrastive loss between all descriptors of a step.
        classify: cosine classification of descriptors into the seen categories.
        text: cosine classification of descriptors into embeddings of the categories' names.
        distil: cross-entropy against the starting backbone's ImageNet predictions, so that its knowledge is kept.
        rank: softmax over the relation logits of one right photo and several wrong ones.
        decide: binary cross-entropy of the same relation logits, so that the relation score is a probability.
    """

    contrast: float = 1.0
    classify: float = 0.5
    text: float = 0.5
    distil: float = 1.0
    rank: float = 1.0
    decide: float = 0.5


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on besides data and network.

    Attributes:
        objective: "contrastive" is ours; "upstream" is the published recipe (triplet and relation regression).
        steps: optimiser steps.
        categories: categories in one step ("contrastive"), or samples in one step ("upstream").
        per_category: sketches and photos drawn of each of them.
        extra_sketches: sketches a step of categories that have no photo.
        learning_rate: peak rate of the parts that start at random.
        backbone_rate: the pretrained backbone's rate as a share of `learning_rate`.
        weight_decay: AdamW's, on matrices only.
        warmup: steps of linear warm-up; then cosine down to a hundredth, or constant where `schedule` says so.
        schedule: "cosine" or "constant".
        ema: decay of the averaged weights that are validated and saved; 0 turns averaging off.
        temperature: of the contrastive loss.
        scale: inverse temperature of the cosine classifiers.
        hard: wrong photos per sketch that the relation loss takes from the descriptor's nearest.
        easy: wrong photos per sketch that it takes at random.
        image_size: side of training images in pixels; 0 takes the network's. Convolutions rank better on images
            somewhat larger than those they were trained on (Touvron et al., NeurIPS 2019, "Fixing the train-test
            resolution").
        frozen_stages: stages of the backbone, stem included, that are not trained; 0 trains all.
        photo_views: keep the photo backbone as it is and train on the stored features of so many variations of each
            photo; 0 computes photos anew each step. Needs a hybrid encoder; saves most of the work on a CPU.
        sketch_views: the same for sketches.
        batch_norm: "frozen" keeps the backbone's running statistics; "batch" renews them.
        seed: of weights, samples and augmentation.
        validate_every, save_every: steps between validations and between saved states; 0 only at the end.
    """

    objective: Literal["contrastive", "upstream"] = "contrastive"
    steps: int = 2000
    categories: int = 32
    per_category: int = 4
    extra_sketches: int = 0
    learning_rate: float = 1e-3
    backbone_rate: float = 0.1
    weight_decay: float = 0.05
    warmup: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    ema: float = 0.998
    temperature: float = 0.1
    scale: float = 16.0
    hard: int = 4
    easy: int = 3
    image_size: int = 0
    frozen_stages: int = 0
    photo_views: int = 0
    sketch_views: int = 0
    batch_norm: Literal["frozen", "batch"] = "frozen"
    seed: int = 2021
    validate_every: int = 500
    save_every: int = 500
    weights: LossWeights = field(default_factory=LossWeights)
    photos: PhotoAugment = field(default_factory=PhotoAugment)
    sketches: SketchAugment = field(default_factory=SketchAugment)


# Lin et al., CVPR 2023, as published: 30 epochs of 10 000 samples, 15 samples a step, constant rate, no augmentation.
UPSTREAM_RECIPE = TrainConfig(
    objective="upstream",
    steps=20_000,
    categories=15,
    per_category=1,
    learning_rate=1e-5,
    backbone_rate=1.0,
    weight_decay=1e-2,
    warmup=0,
    schedule="constant",
    ema=0.0,
    photos=PhotoAugment(
        crop=1.0, aspect=1.0, turn=0.0, flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0,
        low_resolution=0.0, blur=0.0, cutout=0.0,
    ),
    sketches=SketchAugment(
        turn=0.0, scale=1.0, aspect=1.0, shear=0.0, shift=0.0, flip=0.0, elastic=0.0, tremble=0.0, width=0.0, faint=0.0,
        pressure=0.0, gaps=0.0, bitmap=0.0, paper=0.0, blur=0.0,
    ),
)  # fmt: skip
