import shutil

import pytest

from model.data.folders import read_categories, read_folders, read_two_folders
from model.errors import DatasetError


def test_sketch_and_photo_folders(collection):
    dataset = read_folders(collection)
    assert dataset.categories == ("cat", "teddy-bear")
    assert len(dataset.sketches) == len(dataset.photos) == 6
    assert all(item.source == "tub" for item in dataset.items)
    assert [item.path.name for item in dataset.sketches[:3]] == ["tub_0.png", "tub_1.png", "tub_2.png"]
    assert dataset.items == read_folders(collection).items


def test_train_and_val_parts(collection, tmp_path):
    root = tmp_path / "parts"
    shutil.copytree(collection / "sketch", root / "train" / "sketch")
    shutil.copytree(collection / "photo", root / "train" / "photo")
    shutil.copytree(collection / "sketch", root / "val" / "sketch")
    shutil.copytree(collection / "photo" / "cat", root / "val" / "photo" / "cat")
    assert len(read_folders(root, "train")) == 12
    assert len(read_folders(root, "val")) == 9
    assert len(read_folders(root)) == 21
    with pytest.raises(DatasetError, match="test"):
        read_folders(root, "test")


def test_two_folders_anywhere(collection, tmp_path):
    (collection / "photo").rename(tmp_path / "elsewhere")
    assert len(read_two_folders(collection / "sketch", tmp_path / "elsewhere")) == 12


def test_what_is_missing_is_named(tmp_path, collection):
    with pytest.raises(DatasetError, match="nowhere"):
        read_folders(tmp_path / "nowhere")
    (tmp_path / "odd" / "cat").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no known way"):
        read_folders(tmp_path / "odd")
    with pytest.raises(DatasetError, match="holds no photo"):
        read_categories(tmp_path / "odd", "photo")
    shutil.rmtree(collection / "photo")
    with pytest.raises(DatasetError, match="'photo'"):
        read_folders(collection)
