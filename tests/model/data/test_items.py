from pathlib import Path

import pytest

from model.data.items import Dataset, Item, category_key, source_of
from model.errors import DatasetError


@pytest.mark.parametrize("name", ["teddy-bear", "Teddy Bear", "teddy_bear", "TEDDYBEAR", " teddy  bear"])
def test_category_names_compare_without_case_blanks_and_dashes(name):
    assert category_key(name) == "teddybear"


def test_a_letter_and_its_mark_are_one_whatever_the_file_system_stores():
    assert category_key("K\u0061\u0308fer") == category_key("K\u00e4fer") == "k\u00e4fer"


def test_source_is_the_file_names_prefix():
    assert source_of(Path("x/tub_11057.png")) == "tub"
    assert source_of(Path("x/C_image_0001.jpg")) == "C"
    assert source_of(Path("x/n02103406_1011-2.png")) == ""
    assert source_of(Path("x/1.png")) == ""


def items(*categories):
    return tuple(Item(Path(f"{place}.png"), name, "sketch", "qdv") for place, name in enumerate(categories))


def test_one_category_under_several_spellings():
    dataset = Dataset(items("teddy-bear", "ant", "teddy bear"))
    assert dataset.categories == ("ant", "teddy-bear")
    assert [dataset.label(item) for item in dataset.items] == [1, 0, 1]
    assert len(dataset.only(["Teddy Bear"])) == 2
    assert dataset.without(["teddy_bear", "never seen"]).categories == ("ant",)
    assert dataset.sources == {"qdv": 3}


def test_a_category_that_does_not_occur_is_named():
    with pytest.raises(DatasetError, match="zebra"):
        Dataset(items("ant"), "mine").only(["ant", "zebra"])
