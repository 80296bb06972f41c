"""Drawn pictures of a few categories, and runs so small that they take seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from model.data.folders import read_folders
from model.presets import ZSE_TINY
from model.training.config import LossWeights, TrainConfig
from model.training.material.batches import BatchMaker
from model.training.material.material import load_material
from model.training.objectives.objective import Semantics
from model.training.run.preparation import build_objective, start_network
from model.training.run.run import RunPlan, train

CATEGORIES = ("ant", "bee", "cow", "dog", "elk")
CPU = torch.device("cpu")


def draw(path: Path, shape: int, number: int, photo: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (64, 64), (40 * shape + 20, 150 - 8 * number, 90) if photo else "white")
    pen = ImageDraw.Draw(image)
    pen.regular_polygon((32 + number, 32, 22 - number), n_sides=3 + shape, outline="black", width=3)
    pen.line((6, 8 + number, 20 + 4 * shape, 56), fill="black", width=3)
    image.save(path)


def draw_collection(root: Path, categories=CATEGORIES, each=4) -> Path:
    for shape, category in enumerate(categories):
        for number in range(each):
            draw(root / "photo" / category / f"p{number}.png", shape, number, photo=True)
            draw(root / "sketch" / category / f"qdv_{number}.png", shape, number, photo=False)
    return root


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    return draw_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="session")
def dataset(collection):
    return read_folders(collection)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def tiny(**changes) -> TrainConfig:
    """A configuration of a few steps on a few images; `weights` may be given too."""
    config = TrainConfig(
        steps=6,
        categories=3,
        per_category=2,
        hard=2,
        easy=1,
        warmup=2,
        ema=0.9,
        validate_every=0,
        save_every=2,
        weights=LossWeights(text=0.0, distil=0.0),
    )
    return replace(config, **changes)


@pytest.fixture
def plan(tmp_path, dataset, cache):
    held_out = ("dog", "elk")
    return RunPlan(
        folder=tmp_path / "run",
        train=dataset.without(held_out),
        validation=dataset.only(held_out),
        extra=None,
        start=None,
        cache=cache,
        side=64,
    )


class Reports(list[dict[str, Any]]):
    """Collects what a run reports."""

    def __call__(self, values):
        self.append(values)

    def of(self, name):
        return [values for values in self if name in values]

    @property
    def losses(self):
        return [values["loss"] for values in self.of("step")]


def run(plan, config, network=ZSE_TINY, report=None, **options):
    """Train and return what was reported."""
    reports = Reports() if report is None else report
    train(network, config, plan, CPU, reports, **options)
    return reports


@pytest.fixture(scope="session")
def material(dataset, cache):
    return load_material(dataset, None, ZSE_TINY.preprocess, side=64, device=CPU, cache=cache)


@pytest.fixture
def objective_for(material):
    """Builds an objective around a tiny network, and what makes its batches."""

    def build(config, network=ZSE_TINY):
        semantics = Semantics()
        started = start_network(network, config, None, None, semantics)
        objective = build_objective(started, len(material.categories), config, semantics)
        return objective, BatchMaker(material, network.preprocess, config)

    return build
