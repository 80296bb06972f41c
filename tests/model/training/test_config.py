"""Settings by name, configurations that cannot work, and the page that lists them."""

import re
from dataclasses import fields
from typing import Any

import pytest

from model.data.strengths import PhotoAugment, SketchAugment
from model.errors import ConfigurationError
from model.training.config import RECIPES, UPSTREAM_RECIPE, LossWeights, TrainConfig, with_setting
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("steps=100", lambda config: config.steps == 100),
        ("learning_rate = 3e-4", lambda config: config.learning_rate == 3e-4),
        ("batch_norm=batch", lambda config: config.batch_norm == "batch"),
        ("weights.text=0", lambda config: config.weights == LossWeights(text=0.0)),
        ("photos.sides=32,64", lambda config: config.photos.sides == (32, 64)),
    ],
)
def test_a_setting_changes_its_field(setting, read):
    assert not read(TrainConfig())
    assert read(with_setting(TrainConfig(), setting))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("steps", "NAME=VALUE"),
        ("stepps=1", "no setting 'stepps'"),
        ("weights.txt=1", "no setting 'weights.txt'"),
        ("steps.more=1", "no setting 'steps.more'"),
        ("weights=1", "settings of its own"),
        ("steps=1.5", "a whole number"),
        ("ema=high", "a number"),
        ("photos.sides=a", "whole numbers"),
        ("schedule=linear", "schedule must be one of cosine, constant"),
        ("steps=0", "steps must be at least 1"),
        ("categories=1", "categories must be at least 2"),
        ("ema=1", "ema below 1"),
        ("temperature=0", "above 0"),
        ("hard=-1", "hard must be at least 0"),
        ("weights.rank=-1", "0 or more"),
        ("weights.rank=nan", "0 or more"),
        ("learning_rate=nan", "learning_rate must be a finite number, not nan"),
        ("temperature=inf", "temperature must be a finite number, not inf"),
        ("image_size=1", "image_size must be 0 or at least 32, not 1"),
        ("seed=99999999999999999999", "seed must be below"),
        ("sketches.scale=0", "sketches.scale must be above 0"),
        ("sketches.aspect=0.5", "sketches.aspect must be a number of at least 1, not 0.5"),
        ("sketches.gap_count=-1", "sketches.gap_count must be a number of at least 0"),
        ("sketches.sides=28,0", "sketches.sides must be 4 pixels or more"),
        ("photos.sides=0", "photos.sides must be 4 pixels or more"),
        ("photos.aspect=0", "photos.aspect must be a number of at least 1, not 0"),
        ("photos.crop=0", "photos.crop must be above 0"),
        ("photos.flip=2", "photos.flip must be a number of at least 0 and at most 1, not 2"),
        ("photos.turn=inf", "photos.turn must be a number of at least 0, not inf"),
        ("photos.blur=nan", "photos.blur must be a number"),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting, why):
    with pytest.raises(ConfigurationError, match=why):
        with_setting(TrainConfig(), setting)


def test_a_relation_loss_needs_wrong_photos():
    with pytest.raises(ConfigurationError, match="wrong photos"):
        TrainConfig(hard=0, easy=0)
    assert not TrainConfig(hard=0, easy=0, weights=LossWeights(rank=0.0, decide=0.0)).relates
    with pytest.raises(ConfigurationError, match="one of them above 0"):
        LossWeights(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_upstreams_recipe_is_as_published():
    recipe = RECIPES["upstream"]
    assert recipe is UPSTREAM_RECIPE
    assert (recipe.categories, recipe.steps * recipe.categories) == (15, 30 * 10_000)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.backbone_rate) == (1e-5, 1e-2, 1.0)
    assert (recipe.schedule, recipe.warmup, recipe.ema, recipe.seed) == ("constant", 0, 0.0, 2021)


def shown(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_page_lists_every_setting_with_its_defaults():
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = {
        tuple(cell.strip(" `") for cell in row.strip("|").split("|")) for row in re.findall(r"^\|.*\|$", text, re.M)
    }
    parts = {"weights", "photos", "sketches"}
    for name in (each.name for each in fields(TrainConfig) if each.name not in parts):
        expected = (name, shown(getattr(TrainConfig(), name)), shown(getattr(UPSTREAM_RECIPE, name)))
        assert any(row[:3] == expected for row in rows), expected
    for name, value in vars(LossWeights()).items():
        assert any(row[:2] == (name, shown(value)) for row in rows), name
    for strengths, first in ((PhotoAugment(), 0), (SketchAugment(), 3)):
        for name, value in vars(strengths).items():
            assert any(row[first : first + 2] == (name, shown(value)) for row in rows if len(row) > 4), name


@pytest.mark.parametrize("kind", ["contours", "pairs", "undrawn"])
@pytest.mark.parametrize("setting", [{"photo_views": 2}, {"sketch_views": 2}, {"objective": "upstream"}])
def test_drawings_that_are_made_anew_need_images(kind, setting):
    drawing: Any = {kind: 1}
    assert TrainConfig(**drawing).draws_own
    assert not TrainConfig(**setting).draws_own
    with pytest.raises(ConfigurationError, match="made anew each step"):
        TrainConfig(**drawing, **setting)


def test_a_variation_draws_otherwise_and_starts_alike():
    varied = TrainConfig(variation=2)
    assert varied.seed == TrainConfig().seed
    assert len({TrainConfig(seed=seed, variation=number).draws_seed for seed in range(3) for number in range(3)}) == 9
    with pytest.raises(ConfigurationError, match="own_temperature"):
        TrainConfig(own_temperature=0.0)
