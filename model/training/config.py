"""How a network is trained: one frozen value, stored with every run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from model.config import NetworkConfig, ZseConfig
from model.data.strengths import PhotoAugment, SketchAugment
from model.errors import ConfigurationError

_T = TypeVar("_T")
SMALLEST_IMAGE = 32  # pixels: the backbones divide the side by 32


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
        triplet: cross-modal triplet loss between descriptors; of the recipes "crossatnet" and "text-aligned".
        attend: a photo's own attention learns to be what sketches of its category would give it ("crossatnet").
        graph: cosine classification of descriptors into prototypes from the graph of names ("crossatnet").
        hash: learnt hash codes rank a step's photos as descriptors do ("crossatnet").
        sentences: alignment of tokens with sentences that describe the categories ("text-aligned").
        own: a drawing that has a photo of its own finds it among the step's photos (InfoNCE).
        rank_own: softmax over the relation logits of a drawing's own photo and several others, of its category too.
    """

    contrast: float = 1.0
    classify: float = 0.5
    text: float = 0.5
    distil: float = 1.0
    rank: float = 1.0
    decide: float = 0.5
    triplet: float = 0.0
    attend: float = 0.0
    graph: float = 0.0
    hash: float = 0.0
    sentences: float = 0.0
    own: float = 0.0
    rank_own: float = 0.0

    def __post_init__(self) -> None:
        values = vars(self).values()
        if not all(0 <= value < math.inf for value in values) or max(values) == 0:
            raise ConfigurationError("the weights of the loss's terms must be 0 or more, and one of them above 0")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on besides data and network.

    Attributes:
        objective: "contrastive" is ours; "upstream" is the published recipe (triplet and relation regression);
            "crossatnet" and "text-aligned" add what these networks learn from.
        steps: optimiser steps.
        categories: categories in one step ("contrastive"), or samples in one step ("upstream"), each of a category of
            its own. Per process, where several train together.
        per_category: sketches and photos drawn of each of them; "upstream" draws what its samples need.
        extra_sketches: sketches per step of categories that have no photo.
        contours: photos of each step of which contours are drawn too (`model/data/contours.py`); 0 draws none.
        pairs: drawings of each step with the photo that each was made from, where pairs are known.
        undrawn: photos of each step of which there is no drawing, with their contours, where there are such photos.
        learning_rate: peak rate of the parts that start at random.
        backbone_rate: the pretrained backbone's rate as a share of `learning_rate`.
        weight_decay: AdamW's, on matrices only.
        warmup: steps of linear warm-up, 0 for none.
        schedule: what follows: "cosine" falls to a hundredth of the rate at the last step, "constant" keeps it.
        ema: decay of the averaged weights that are validated and saved; 0 turns averaging off.
        keep: "last" saves the weights of the last step: a falling rate and averaging end near the best, and the best of
            many validations on few categories is partly luck. "best" saves those with the best validation, measured
            as mAP@all of the descriptor or of the relation, whichever is higher; for a constant rate.
        temperature: of the contrastive loss.
        own_temperature: of the loss by which a drawing finds its own photo.
        beside: half of the relation's ranking reads logit + beside * cosine, so that the relation learns what the
            descriptor lacks; 0 reads the logit alone.
        scale: inverse temperature of the cosine classifiers.
        hard: wrong photos per sketch that the relation loss takes from the descriptor's nearest; fewer where a step has
            fewer.
        easy: wrong photos per sketch that it takes at random, likewise.
        image_size: side of training images in pixels; 0 takes the network's. Convolutions rank better on images
            somewhat larger than those they were trained on (Touvron et al., NeurIPS 2019, "Fixing the train-test
            resolution"). Needs a hybrid encoder.
        frozen_stages: stages of the backbone, stem included, that are not trained; 0 trains all.
        photo_views: keep the photo backbone as it is and train on the stored features of so many variations of each
            photo; 0 computes photos anew each step. Needs a hybrid encoder; saves most of the work on a CPU.
        sketch_views: the same for sketches.
        batch_norm: "frozen" keeps the backbone's running statistics; "batch" renews them, in frozen stages too, but not
            in a backbone whose features are stored.
        seed: of weights, samples and augmentation.
        variation: of samples and augmentation alone. Runs that differ in nothing that their start depends on begin with
            the same weights, and the mean of what they end with is better than any of them (`train/average.py`).
        validate_every, save_every: steps between validations and between saved states; 0 only at the end.
    """

    objective: Literal["contrastive", "upstream", "crossatnet", "text-aligned"] = "contrastive"
    steps: int = 2000
    categories: int = 32
    per_category: int = 4
    extra_sketches: int = 0
    contours: int = 0
    pairs: int = 0
    undrawn: int = 0
    learning_rate: float = 1e-3
    backbone_rate: float = 0.1
    weight_decay: float = 0.05
    warmup: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    ema: float = 0.998
    keep: Literal["last", "best"] = "last"
    temperature: float = 0.1
    own_temperature: float = 0.07
    beside: float = 0.0
    scale: float = 16.0
    hard: int = 4
    easy: int = 3
    image_size: int = 0
    frozen_stages: int = 0
    photo_views: int = 0
    sketch_views: int = 0
    batch_norm: Literal["frozen", "batch"] = "frozen"
    seed: int = 2021
    variation: int = 0
    validate_every: int = 500
    save_every: int = 500
    weights: LossWeights = field(default_factory=LossWeights)
    photos: PhotoAugment = field(default_factory=PhotoAugment)
    sketches: SketchAugment = field(default_factory=SketchAugment)

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            allowed = get_args(hint)
            if allowed and getattr(self, name) not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        lowest = {"steps": 1, "categories": 2, "per_category": 1}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigurationError(f"{each.name} must be a finite number, not {value}")
            if isinstance(value, int | float) and value < lowest.get(each.name, 0):
                raise ConfigurationError(f"{each.name} must be at least {lowest.get(each.name, 0)}, not {value}")
        if not self.learning_rate or not self.temperature or not self.ema < 1:
            raise ConfigurationError("learning_rate and temperature must be above 0, and ema below 1")
        if 0 < self.image_size < SMALLEST_IMAGE:
            raise ConfigurationError(f"image_size must be 0 or at least {SMALLEST_IMAGE}, not {self.image_size}")
        self._check_drawings()
        if self.seed >= 2**63:
            raise ConfigurationError(f"seed must be below 2 to the power of 63, not {self.seed}")
        if self.relates and not self.hard + self.easy:
            raise ConfigurationError("the relation loss needs wrong photos: set hard or easy above 0")

    def _check_drawings(self) -> None:
        if self.draws_own and (self.photo_views or self.sketch_views or self.objective == "upstream"):
            raise ConfigurationError(
                "contours, pairs and undrawn photos are made anew each step: they need photo_views=0 and "
                "sketch_views=0, and another objective than upstream's"
            )
        if not self.own_temperature:
            raise ConfigurationError("own_temperature must be above 0")

    @property
    def relates(self) -> bool:
        """Whether a contrastive step trains the relation."""
        return bool(self.weights.rank or self.weights.decide)

    @property
    def draws_seed(self) -> int:
        """Of samples and augmentation."""
        return self.seed + self.variation * 1_000_000_007

    @property
    def draws_own(self) -> bool:
        """Whether drawings with a photo of their own take part in a step."""
        return bool(self.contours or self.pairs or self.undrawn)


# Lin et al., CVPR 2023, as published: 30 epochs of 10 000 samples, 15 samples per step, constant rate, no augmentation.
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
    keep="best",
    photos=PhotoAugment(
        crop=1.0, aspect=1.0, turn=0.0, flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0,
        low_resolution=0.0, blur=0.0, cutout=0.0,
    ),
    sketches=SketchAugment(
        turn=0.0, scale=1.0, aspect=1.0, shear=0.0, shift=0.0, flip=0.0, elastic=0.0, tremble=0.0, width=0.0, faint=0.0,
        pressure=0.0, gaps=0.0, bitmap=0.0, paper=0.0, blur=0.0,
    ),
)  # fmt: skip

CROSSATNET_RECIPE = TrainConfig(
    objective="crossatnet",
    weights=LossWeights(contrast=0.0, classify=0.0, text=0.0, triplet=1.0, attend=0.5, graph=0.5, hash=0.5),
)
TEXT_ALIGNED_RECIPE = TrainConfig(
    objective="text-aligned",
    weights=LossWeights(contrast=0.0, classify=0.0, text=0.0, triplet=1.0, sentences=0.5),
)

# Half of the drawings that a step learns from have a photo of their own.
CONTOURS_RECIPE = TrainConfig(
    steps=800,
    extra_sketches=64,
    contours=96,
    pairs=48,
    undrawn=48,
    beside=8.0,
    weights=LossWeights(own=0.3, rank_own=0.5),
)

RECIPES = {
    "contrastive": TrainConfig(),
    "contours": CONTOURS_RECIPE,
    "upstream": UPSTREAM_RECIPE,
    "crossatnet": CROSSATNET_RECIPE,
    "text-aligned": TEXT_ALIGNED_RECIPE,
}


def recipe_for(network: NetworkConfig) -> str:
    """Name of the recipe that a network is trained by unless another is asked for."""
    if isinstance(network, ZseConfig):
        return "upstream" if network.relation.kind == "upstream" else "contrastive"
    return network.architecture if network.architecture in RECIPES else "contrastive"


def with_setting(config: _T, setting: str) -> _T:
    """A configuration with one field changed.

    Args:
        config: a dataclass, whose fields may be dataclasses.
        setting: "steps=100", or with a dot for a field of a field: "weights.text=0". Several numbers are divided by
            commas: "photos.sides=32,64".

    Raises:
        ConfigurationError: there is no such field, or the value is of another kind; the message names it.
    """
    name, equals, text = setting.partition("=")
    if not equals:
        raise ConfigurationError(f"a setting reads NAME=VALUE, not {setting!r}")
    return _changed(config, name.strip(), text.strip(), name.strip())


def _changed(config: _T, path: str, text: str, whole: str) -> _T:
    name, _, rest = path.partition(".")
    if not is_dataclass(config) or name not in (known := [each.name for each in fields(config)]):
        known = known if is_dataclass(config) else []
        raise ConfigurationError(f"there is no setting {whole!r}; {name!r} must be one of {', '.join(sorted(known))}")
    old = getattr(config, name)
    if rest:
        new = _changed(old, rest, text, whole)
    elif is_dataclass(old):
        raise ConfigurationError(f"{whole!r} has settings of its own: {', '.join(each.name for each in fields(old))}")
    else:
        new = _read(old, text, whole)
    return replace(config, **{name: new})  # type: ignore[type-var]


def _read(old: Any, text: str, whole: str) -> Any:
    """The text as a value of the same kind as the old one."""
    try:
        if isinstance(old, tuple):
            return tuple(int(part) for part in text.split(",") if part.strip())
        return type(old)(text)
    except ValueError:
        kinds = {int: "a whole number", float: "a number", tuple: "whole numbers divided by commas"}
        raise ConfigurationError(f"{whole!r} must be {kinds[type(old)]}, not {text!r}") from None
