"""Validation categories are seen ones that training never meets."""

from itertools import pairwise

import pytest

from model.data.items import Dataset, Item
from model.errors import ConfigurationError, DatasetError
from model.training.material.holdout import draw_categories, hold_out, thinned
from model.training.material.sources import gather, seen_images
from tests.model.training.conftest import CATEGORIES, draw_collection


def test_drawn_categories_depend_on_the_seed_and_not_on_the_order_of_files(dataset):
    drawn = draw_categories(dataset, 2, seed=3)
    assert len(set(drawn)) == 2
    assert set(drawn) <= set(CATEGORIES)
    assert draw_categories(Dataset(dataset.items[::-1]), 2, seed=3) == drawn
    assert len({draw_categories(dataset, 2, seed=seed) for seed in range(20)}) > 3


def test_only_categories_with_both_sides_are_drawn(dataset):
    one_sided = dataset.where(lambda item: item.category in {"ant", "bee", "cow"} or item.modality == "photo")
    assert {name for seed in range(20) for name in draw_categories(one_sided, 1, seed)} == {"ant", "bee", "cow"}
    with pytest.raises(ConfigurationError, match="hold out fewer"):
        draw_categories(one_sided, 2, seed=0)


def test_what_is_held_out_is_nowhere_in_training(dataset):
    extra = Dataset(tuple(item for item in dataset.sketches))
    left, more, validation = hold_out(dataset, extra, ("Bee", "elk"))
    assert {item.category for item in validation.items} == {"bee", "elk"}
    assert {item.category for item in left.items} == {"ant", "cow", "dog"}
    assert more is not None
    assert {item.category for item in more.items} == {"ant", "cow", "dog"}


def test_a_category_without_photos_cannot_be_held_out(dataset):
    lacking = dataset.where(lambda item: item.category != "bee" or item.modality == "sketch")
    with pytest.raises(DatasetError, match="no photo of bee"):
        hold_out(lacking, None, ("bee",))


def test_thinning_spreads_over_each_categorys_files(dataset):
    items = tuple(Item(dataset.items[0].path, "ant", "photo", key=str(number)) for number in range(10))
    kept = thinned(Dataset(items), sketches=1, photos=3)
    assert [item.key for item in kept.items] == ["0", "3", "6"]
    items = tuple(Item(dataset.items[0].path, "ant", "photo", key=str(number)) for number in range(69))
    places = [int(item.key) for item in thinned(Dataset(items), photos=35).items]
    assert len(places) == 35
    assert places[-1] >= 66  # not the first 35
    assert {after - before for before, after in pairwise(places)} == {1, 2}
    assert len(thinned(dataset, sketches=2, photos=9).sketches) == 2 * len(CATEGORIES)


def test_sources_leave_out_what_they_are_told_to(tmp_path, dataset, collection):
    names = tmp_path / "validation.txt"
    names.write_text("cow\n")
    sources = gather(dataset, extra=collection / "sketch", without=["ANT"], validation=str(names))
    assert sources.held_out == ("cow",)
    assert {item.category for item in sources.train.items} == {"bee", "dog", "elk"}
    assert sources.extra is not None
    assert {item.category for item in sources.extra.items} == {"bee", "dog", "elk"}
    assert gather(dataset, validation="0").validation is None
    with pytest.raises(ConfigurationError, match="a number of categories or a file"):
        gather(dataset, validation="some")


def test_names_that_leave_nothing_out_are_told(dataset, collection):
    sources = gather(dataset, extra=collection / "sketch", without=["Ant", "elkk", "elkk", "Bee hive"])
    assert sources.unmatched == ("elkk", "Bee hive")
    assert "ant" not in sources.train.categories
    sources = gather(dataset, without=["ant"], without_reserved=True)  # most reserved names occur in no dataset
    assert sources.unmatched == ()
    assert sources.train.categories == ("bee", "dog", "elk")


def test_categories_that_have_one_side_alone_are_told(dataset, collection):
    lopsided = dataset.where(lambda item: (item.category, item.modality) not in {("bee", "photo"), ("elk", "sketch")})
    sources = gather(lopsided)
    assert (sources.without_photos, sources.without_sketches) == (("bee",), ("elk",))
    more = gather(lopsided, extra=collection / "sketch")
    assert (more.without_photos, more.without_sketches) == (("bee",), ())
    assert gather(dataset).without_photos + gather(dataset).without_sketches == ()


def test_a_divided_folder_trains_on_its_training_part_alone(tmp_path):
    draw_collection(tmp_path / "train", ("ant", "bee"), each=1)
    draw_collection(tmp_path / "val", ("cow",), each=1)
    assert seen_images(tmp_path, None, "").categories == ("ant", "bee")
    with pytest.raises(ConfigurationError, match="--data DIR, or --file-lists"):
        seen_images(None, None, "")
