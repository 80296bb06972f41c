"""What a run knows of drawings and their photos, from files to rows."""

import shutil
from dataclasses import replace

import pytest
import torch

from model.data.folders import read_categories, read_folders
from model.data.pairs import pairs_by_name
from model.presets import ZSE_TINY
from model.training.material.material import load_material, with_objects, with_own_photos
from tests.model.training.conftest import CPU, draw_collection
from tests.model.training.material.test_teacher import Mapped

PREPROCESS = ZSE_TINY.preprocess


@pytest.fixture
def paired(tmp_path):
    """Two categories with two photos each and a drawing of every photo, named as Sketchy names them."""
    root = draw_collection(tmp_path / "pairs", ("ant", "bee"), each=2)
    for category in ("ant", "bee"):
        for number in range(2):
            (root / "photo" / category / f"p{number}.png").rename(root / "photo" / category / f"n0123_{number}.png")
            (root / "sketch" / category / f"qdv_{number}.png").rename(
                root / "sketch" / category / f"n0123_{1 - number}-1.png"  # the other order than the photos'
            )
    return root


def loaded(dataset):
    return load_material(dataset, None, PREPROCESS, side=64, device=CPU, cache=None)


def test_rows_of_pairs_are_those_of_the_same_files(paired):
    drawn = read_folders(paired)
    material = loaded(drawn)
    own = with_own_photos(material, pairs_by_name(drawn), None, PREPROCESS, side=64, cache=None).own_photos
    assert own is not None
    assert own.undrawn is None
    assert len(own.pairs) == 4
    for sketch, photo in own.pairs.tolist():
        drawing, model = material.sketches.items[sketch], material.photos.items[photo]
        assert drawing.path.stem == f"{model.path.stem}-1"
        assert drawing.category == model.category


def test_a_pair_with_a_damaged_image_is_left_out(paired):
    drawn = read_folders(paired)
    pairs = pairs_by_name(drawn)
    (paired / "photo" / "ant" / "n0123_0.png").write_bytes(b"no image")
    own = with_own_photos(loaded(drawn), pairs, None, PREPROCESS, side=64, cache=None).own_photos
    assert own is not None
    assert len(own.pairs) == 3


def test_without_pairs_there_are_no_rows(dataset):
    own = with_own_photos(loaded(dataset), None, None, PREPROCESS, side=64, cache=None).own_photos
    assert own is not None
    assert own.pairs.shape == (0, 2)
    assert own.pairs.dtype == torch.int64


def test_photos_without_drawings_are_decoded_and_where_objects_are_is_asked_for_all(paired, tmp_path):
    shutil.copytree(paired / "photo", tmp_path / "more")
    (tmp_path / "more" / "bee" / "n0123_0.png").unlink()
    material = loaded(read_folders(paired))
    told = []
    undrawn = read_categories(tmp_path / "more", "photo")
    material = with_own_photos(
        material, None, undrawn, PREPROCESS, side=64, cache=None, progress=lambda *values: told.append(values)
    )
    assert told[-1] == ("decoding photos without drawings", 3, 3)
    classifier = Mapped(torch.eye(3))
    own = with_objects(material, classifier, PREPROCESS).own_photos
    assert own is not None
    assert own.undrawn is not None
    assert own.undrawn.pixels.shape == (3, 3, 64, 64)
    assert own.objects is not None
    assert own.objects.shape == (4, 8, 8)
    assert own.undrawn_objects is not None
    assert own.undrawn_objects.shape == (3, 8, 8)
    assert own.undrawn_targets is not None
    torch.testing.assert_close(own.undrawn_targets.sum(dim=1), torch.ones(3))
    assert with_objects(replace(material, own_photos=None), classifier, PREPROCESS).own_photos is None
