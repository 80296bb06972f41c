import pytest

from model.data.items import category_key
from model.data.splits import (
    PUBLISHED_SPLITS,
    is_reserved,
    read_category_list,
    reserved_categories,
    unseen_categories,
)
from model.errors import DatasetError
from tests.paths import ROOT

SHARED = ROOT.parent / "shared" / "benchmark" / "splits"


@pytest.mark.parametrize(
    ("split", "count"), [("sketchy-25", 25), ("sketchy-21", 21), ("tu-berlin-30", 30), ("quickdraw-30", 30)]
)
def test_published_splits_have_their_number_of_test_categories(split, count):
    names = unseen_categories(split)
    assert len({category_key(name) for name in names}) == len(names) == count


def test_reserved_names_cover_the_published_splits():
    published = {category_key(name) for split in PUBLISHED_SPLITS for name in unseen_categories(split)}
    assert published <= {category_key(name) for name in reserved_categories()}


def test_reserved_names_compare_loosely_and_cover_near_names():
    for name in ("Fire_Hydrant", "hot-air balloon", "T-shirt", "roller skates", "sneaker", "mug"):
        assert is_reserved(name)
    assert not is_reserved("guitar")


def test_an_unknown_split_or_an_empty_list_is_named(tmp_path):
    with pytest.raises(DatasetError, match="sketchy-99"):
        unseen_categories("sketchy-99")
    with pytest.raises(DatasetError, match=r"missing\.txt"):
        read_category_list(tmp_path / "missing.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(DatasetError, match="empty"):
        read_category_list(tmp_path / "empty.txt")


def test_the_mark_that_notepad_writes_is_no_part_of_a_name(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfant\r\nbee\r\n")
    assert read_category_list(tmp_path / "names.txt") == ("ant", "bee")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmark data is not on this machine")
def test_no_seen_category_of_the_benchmark_is_reserved():
    assert [name for name in read_category_list(SHARED / "seen.txt") if is_reserved(name)] == []
    assert all(is_reserved(name) for name in read_category_list(SHARED / "reserved.txt"))
    assert all(is_reserved(name) for name in read_category_list(SHARED / "unseen.txt"))
