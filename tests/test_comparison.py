"""The comparison of networks in `train/networks.py`: every arm trains and is measured, and the table is written."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from model.backbones.timm_backbones import create_backbone
from model.data.arrays import ImageArrays
from model.data.items import Item
from model.networks.encoder import Features, HybridEncoder
from model.training.material.material import Material
from model.training.material.stored_views import Views
from model.training.objectives.objective import Semantics
from tests.paths import ROOT

CATEGORIES = ("ant", "bee", "cat", "dog")
EACH, CLASSES, WORDS = 3, 1000, 5


@pytest.fixture(scope="module")
def networks():
    folder = str(ROOT / "train")
    sys.path.insert(0, folder)
    yield importlib.import_module("networks")
    sys.path.remove(folder)


def random_features(count, seed):
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(count, 120, 8, 8, generator=generator)
    return Features(fine.bfloat16(), torch.randn(count, 352, 4, 4, generator=generator).bfloat16())


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
        images="none",
    )


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["of each network", "all"])
def test_arms_train_and_are_measured_and_the_table_has_a_row_of_each(networks, prepared, tmp_path, *, every):
    """Or the last arm of each network, which has all of its parts."""
    arms = networks.ARMS if every else tuple({arm.objective: arm for arm in networks.ARMS}.values())
    seeds = (1, 2) if every else (1,)
    lines = [networks.run(arm, seed, 1, prepared) for arm in arms for seed in seeds]
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
    for arm in arms:
        assert f"| {arm.name} | {len(seeds)} | 0." in text
    assert "128-bit codes" in text


def test_precision_is_shown_where_reranking_can_change_it(networks):
    """The first hundred of a hundred candidates are the same photos in any order; the first ten are not."""
    assert networks.FIRST < networks.CANDIDATES
    order = torch.arange(200)[None]
    relevant = torch.zeros(1, 200, dtype=torch.bool)
    relevant[0, 50:60] = True
    reranked = torch.cat([torch.arange(50, 100), torch.arange(50), torch.arange(100, 200)])[None]
    assert networks.quality_of(order, relevant)[1] == 0
    assert networks.quality_of(reranked, relevant)[1] == 1


def test_the_page_gives_the_command_that_makes_its_table(networks):
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"python train/networks\.py (--data .+)", page)
    options = networks.options_parser().parse_args(command.strip("`").split())
    (said,) = re.findall(
        r"mAP@all of (\d+) sketches among (\d+) photos.*? after (\d+) steps on (\d+) .*? of (\d+) seen", page
    )
    sketches, photos, steps, images, seen = map(int, said)
    assert options.steps == steps
    assert options.per_category * seen == images
    assert sketches * options.test_photos == photos * options.test_sketches


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two seen and one unseen category of drawn noise, with what a command line would say; no sentence encoder."""
    import model.training.material.name_embeddings
    import model.training.material.sentence_tokens

    monkeypatch.setattr(model.training.material.name_embeddings, "_encode", lambda names: torch.randn(len(names), 384))
    monkeypatch.setattr(
        model.training.material.sentence_tokens, "_encode", lambda sentences: [torch.randn(4, 384) for _ in sentences]
    )
    for number, category in enumerate(("bee", "dog", "cat")):
        for modality in ("sketch", "photo"):
            place = tmp_path / "data" / modality / category
            place.mkdir(parents=True)
            for each in range(2):
                noise(10 * number + each + 100 * (modality == "photo")).save(place / f"{each}.png")
    for name, category in (("without", "cat"), ("unseen", "cat")):
        (tmp_path / f"{name}.txt").write_text(f"{category}\n")
    return tmp_path


def noise(seed):
    """Dark and light squares inside a light frame: a photo, and a sketch with something drawn."""
    squares = np.full((8, 8, 3), 255, dtype=np.uint8)
    squares[2:6, 2:6] = 255 * np.random.default_rng(seed).integers(0, 2, (4, 4, 1))
    return Image.fromarray(squares.repeat(16, 0).repeat(16, 1))


def test_a_folder_that_has_changed_is_not_served_from_features_of_before(networks, folder, monkeypatch):
    options = networks.options_parser().parse_args(
        ["--data", str(folder / "data"), "--without", str(folder / "without.txt"), "--unseen",
         str(folder / "unseen.txt"), "--out", str(folder), "--cache", str(folder)]
    )  # fmt: skip
    made = []
    stored = importlib.import_module("stored")
    real = stored.save_file

    def counted(values, path):
        made.append(path)
        real(values, path)

    monkeypatch.setattr(stored, "save_file", counted)
    first, again = stored.prepare(options), stored.prepare(options)
    assert len(made) == 1, "the second time they are read"
    assert first.images == again.images
    for modality, category in (("photo", "dog"), ("sketch", "cat")):  # one learnt from, one measured on
        noise(999).save(folder / "data" / modality / category / "1.png")
        changed = stored.prepare(options)
        assert changed.images != first.images
    assert len(made) == len(set(made)) == 3
    assert len(list(folder.glob("features-*"))) == 3, "nothing unfinished is left"
    assert not torch.equal(changed.unseen["sketch"].fine, first.unseen["sketch"].fine)
    torch.testing.assert_close(changed.unseen["photo"].fine, first.unseen["photo"].fine)


def test_the_same_seed_gives_the_same_run(networks, prepared):
    arm = networks.ARMS[3]
    first, again = (networks.run(arm, 5, 2, prepared) for _ in range(2))
    # Codes are fitted to fewer photos than they have bits: rounding decides most of their directions.
    undetermined = {"cpu_s": 0, "map_hash_itq": 0}
    assert {**first, **undetermined} == {**again, **undetermined}


def test_a_table_holds_runs_of_the_same_images_alone(networks, prepared):
    line = networks.run(networks.ARMS[0], 1, 1, prepared)
    table = networks.table_of([{**line, "seed": 2, "data": "other"}, line])
    assert f"| {networks.ARMS[0].name} | 1 |" in table
