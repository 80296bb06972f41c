"""The comparison of networks in `train/networks.py`: every arm trains and is measured, and the table is written."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from model.backbone import create_backbone
from model.data.arrays import ImageArrays
from model.data.items import Item
from model.encoder import Features, HybridEncoder
from model.training.material import Material
from model.training.objectives import Semantics
from model.training.views import Views

CATEGORIES = ("ant", "bee", "cat", "dog")
EACH, CLASSES, WORDS = 3, 1000, 5


@pytest.fixture(scope="module")
def networks():
    folder = str(Path(__file__).parent.parent / "train")
    sys.path.insert(0, folder)
    yield importlib.import_module("networks")
    sys.path.remove(folder)


def random_features(count, seed):
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(count, 112, 8, 8, generator=generator)
    return Features(fine.bfloat16(), torch.randn(count, 320, 4, 4, generator=generator).bfloat16())


@pytest.fixture(scope="module")
def prepared(request):
    request.getfixturevalue("networks")
    stored = importlib.import_module("stored")
    labels = torch.arange(len(CATEGORIES)).repeat_interleave(EACH)
    count = len(labels)

    def arrays(modality):
        items = tuple(Item(Path(f"{row}.png"), CATEGORIES[label], modality) for row, label in enumerate(labels))
        return ImageArrays(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), labels, items, CATEGORIES)

    targets = torch.rand(count, CLASSES).softmax(1)
    names = F.normalize(torch.randn(len(CATEGORIES), 384), dim=1)
    material = Material(arrays("sketch"), arrays("photo"), None, CATEGORIES, names, targets, targets[::EACH])
    semantics = Semantics(
        names, CLASSES, torch.linalg.qr(torch.randn(1280, stored.WIDTH))[0].T.contiguous(),
        torch.randn(CLASSES, stored.WIDTH), torch.randn(len(CATEGORIES), WORDS, 384),
        torch.ones(len(CATEGORIES), WORDS, dtype=torch.bool),
    )  # fmt: skip
    encoder = HybridEncoder(stored.ENCODER, create_backbone(stored.ENCODER, stored.SIDE))
    backbones = {key: value for key, value in encoder.state_dict().items() if key.split(".")[0].endswith("backbone")}
    return stored.Prepared(
        material=material,
        views={
            "sketch_views": Views.of(random_features(count, 1), 1),
            "photo_views": Views.of(random_features(count, 2), 1),
        },
        semantics=semantics,
        unseen={"sketch": random_features(4, 3), "photo": random_features(6, 4)},
        relevant=torch.tensor(
            [[True, True, True, False, False, False]] * 2 + [[False, False, False, True, True, True]] * 2
        ),
        order=torch.arange(6),
        backbones=backbones,
        origin="random 0",
    )


def test_every_arm_trains_and_is_measured_and_the_table_has_a_row_of_each(networks, prepared, tmp_path):
    lines = [networks.run(arm, seed, 1, prepared) for arm in networks.ARMS for seed in (1, 2)]
    for line in lines:
        for key in networks.COLUMNS:
            assert 0 < line[key] <= 1
        assert line["loss"] > 0
        assert ("map_hash_learnt" in line) == ("hash" in line["weights"])
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- networks: begin -->\nold\n<!-- networks: end -->\nAfter.\n")
    networks.write_table(page, json.loads(json.dumps(lines)))
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "old" not in text
    for arm in networks.ARMS:
        assert f"| {arm.name} | 2 | 0." in text
    assert "128-bit codes" in text


def test_the_same_seed_gives_the_same_run(networks, prepared):
    arm = networks.ARMS[3]
    first, again = (networks.run(arm, 5, 2, prepared) for _ in range(2))
    assert {**first, "cpu_s": 0} == {**again, "cpu_s": 0}
