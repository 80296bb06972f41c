import pytest

from model.data.filelists import read_file_lists
from model.errors import DatasetError


@pytest.fixture
def sketchy(tmp_path, draw):
    """Sketchy-25 in upstream's layout: two test categories, one with a blank in its name and in a file's."""
    home = tmp_path / "Sketchy"
    base = "256x256/{}/tx_000000000000_ready"
    photos, sketches = [], []
    for label, category in enumerate(("swan", "teddy bear")):
        for folder in (base.format("photo"), "EXTEND_image_sketchy_ready"):
            path = f"{folder}/{category}/n0{label}_7.jpg"
            draw(home / path, "photo", label)
            photos.append(f"{path} {label}")
        path = f"{base.format('sketch')}/{category}/n0{label}_7-1.png"
        draw(home / path)
        sketches.append(f"{path} {label}")
    lists = home / "zeroshot1"
    lists.mkdir()
    (lists / "cname_cid_zero.txt").write_text("swan 0\nteddy bear 1\n")
    (lists / "all_photo_filelist_zero.txt").write_text("\n".join(photos) + "\n")
    (lists / "sketch_tx_000000000000_ready_filelist_zero.txt").write_text("\n".join(sketches) + "\n")
    return tmp_path


def test_sketchys_lists(sketchy):
    dataset = read_file_lists(sketchy, "sketchy-25", "test")
    assert dataset.categories == ("swan", "teddy bear")
    assert (len(dataset.sketches), len(dataset.photos)) == (2, 4)
    assert all(item.path.is_file() for item in dataset.items)
    assert read_file_lists(sketchy / "Sketchy", "sketchy-25", "test").items == dataset.items


def test_an_instance_gallery_leaves_the_extension_out(sketchy):
    dataset = read_file_lists(sketchy, "sketchy-25", "test", instance_gallery=True)
    assert len(dataset.photos) == 2
    assert len(dataset.sketches) == 2


def test_the_folder_names_the_category_without_a_list_of_names(sketchy):
    (sketchy / "Sketchy" / "zeroshot1" / "cname_cid_zero.txt").unlink()
    assert read_file_lists(sketchy, "sketchy-25", "test").categories == ("swan", "teddy bear")


@pytest.mark.parametrize(
    ("split", "home", "lists"),
    [
        ("tu-berlin-30", "TUBerlin", ("png_ready_filelist_train.txt", "ImageResized_ready_filelist_train.txt")),
        ("quickdraw-30", "QuickDraw", ("sketch_train.txt", "all_photo_train.txt")),
    ],
)
def test_the_other_datasets_lists(tmp_path, draw, split, home, lists):
    for modality, name in zip(("sketch", "photo"), lists, strict=True):
        draw(tmp_path / home / modality / "hot air balloon" / "a b.png", modality)
        file_list = tmp_path / home / "zeroshot" / name
        file_list.parent.mkdir(exist_ok=True)
        file_list.write_text(f"{modality}/hot air balloon/a b.png 3\n")
    dataset = read_file_lists(tmp_path, split, "train")
    assert [(item.modality, item.category) for item in dataset.items] == [
        ("sketch", "hot air balloon"),
        ("photo", "hot air balloon"),
    ]


def test_what_is_missing_or_damaged_is_named(sketchy):
    lists = sketchy / "Sketchy" / "zeroshot1"
    with pytest.raises(DatasetError, match="sketch_tx_000000000000_ready_filelist_train"):
        read_file_lists(sketchy, "sketchy-25", "train")
    with pytest.raises(DatasetError, match="sketchy-99"):
        read_file_lists(sketchy, "sketchy-99", "test")
    names = lists / "cname_cid_zero.txt"
    names.write_text("swan 0\n")
    with pytest.raises(DatasetError, match="label 1 has no name"):
        read_file_lists(sketchy, "sketchy-25", "test")
    names.write_text("swan zero\n")
    with pytest.raises(DatasetError, match=r"cname_cid_zero\.txt, line 1"):
        read_file_lists(sketchy, "sketchy-25", "test")


def test_missing_images_stay_listed_unless_all_are_missing(sketchy):
    listed = read_file_lists(sketchy, "sketchy-25", "test")
    for photo in listed.photos[:-1]:  # the first one as well, whose place tells the folder
        photo.path.unlink()
    assert read_file_lists(sketchy, "sketchy-25", "test").items == listed.items
    listed.photos[-1].path.unlink()
    with pytest.raises(DatasetError, match=r"all_photo_filelist_zero\.txt: none of its images is there.*n00_7\.jpg"):
        read_file_lists(sketchy, "sketchy-25", "test")
