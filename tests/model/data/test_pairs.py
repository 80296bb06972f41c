import pytest

from model.data.folders import read_folders
from model.data.pairs import pairs_by_name, read_pairs
from model.errors import DatasetError

ROWS = [("dog", "n1_1-1.png", "n1_1.jpg"), ("dog", "n1_1-2.png", "n1_1.jpg"), ("cat", "n2_5-1.png", "n2_5.jpg")]


@pytest.fixture
def folder(tmp_path, draw):
    for category, sketch, photo in ROWS:
        draw(tmp_path / "sketch" / category / sketch)
        draw(tmp_path / "photo" / category / photo, "photo")
    (tmp_path / "pairs.csv").write_text("category,sketch,photo\n" + "\n".join(map(",".join, ROWS)) + "\n")
    return tmp_path


def own_names(pairs):
    return [(s.path.name, pairs.photos[p].path.name) for s, p in zip(pairs.sketches, pairs.own_photo, strict=True)]


def test_pairs_of_a_table(folder):
    pairs = read_pairs(folder)
    assert own_names(pairs) == [(sketch, photo) for _, sketch, photo in ROWS]
    assert len(pairs.photos) == 2
    assert read_pairs(folder / "pairs.csv") == pairs
    assert own_names(pairs.only(["cat"])) == [("n2_5-1.png", "n2_5.jpg")]
    assert len(pairs.dataset.sketches) == 3
    for names in (["zebra"], ["cat", "zebra"]):
        with pytest.raises(DatasetError, match="no pair is of: zebra"):
            pairs.only(names)


def test_the_mark_that_notepad_writes_is_no_part_of_a_column(folder):
    table = folder / "pairs.csv"
    expected = read_pairs(folder)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert read_pairs(folder) == expected


def test_missing_images_stay_listed(folder):
    expected = read_pairs(folder)
    expected.photos[0].path.unlink()
    assert read_pairs(folder) == expected


def test_sketchys_names_tell_the_pairs(folder, draw):
    draw(folder / "photo" / "dog" / "n1_9.jpg", "photo")
    pairs = pairs_by_name(read_folders(folder))
    assert sorted(own_names(pairs)) == sorted((sketch, photo) for _, sketch, photo in ROWS)
    assert len(pairs.photos) == 3


def test_names_that_tell_no_pair_are_named(folder, draw):
    extra = draw(folder / "sketch" / "dog" / "n1_7-1.png")
    with pytest.raises(DatasetError, match="n1_7"):
        pairs_by_name(read_folders(folder))
    extra.rename(folder / "sketch" / "dog" / "free.png")
    with pytest.raises(DatasetError, match=r"free\.png"):
        pairs_by_name(read_folders(folder))
    draw(folder / "photo" / "dog" / "n1_1.png", "photo")
    with pytest.raises(DatasetError, match="one name"):
        pairs_by_name(read_folders(folder))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("category,sketch,photo\ndog,n1_1-1.png\n", "line 2"),
        ("category,drawing,photo\ndog,n1_1-1.png,n1_1.jpg\n", "columns"),
        ("category,sketch,photo\n", "empty"),
    ],
)
def test_a_damaged_table_is_named(folder, text, named):
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(DatasetError, match=named):
        read_pairs(folder)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"pairs\.csv"):
        read_pairs(tmp_path)
