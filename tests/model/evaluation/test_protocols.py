"""Protocols on small tasks whose answers can be told by hand."""

import re
from pathlib import Path

import pytest
import torch

from model.data.items import Item, category_key
from model.data.pairs import Pairs
from model.errors import DatasetError
from model.evaluation import metrics, protocols
from tests.paths import ROOT


def items(modality, *categories, folder="a"):
    return tuple(
        Item(Path(f"{folder}/{modality}/{name}/{place}.png"), name, modality) for place, name in enumerate(categories)
    )


SKETCHES = items("sketch", "ant", "ant", "teddy-bear")
PHOTOS = items("photo", "ant", "teddy bear", "teddy bear", "ant", "ant")


def by_scores(scores, photos):
    order = protocols.tie_order(photos)
    return lambda rows: metrics.rank_photos(scores[rows], order)


def test_inter_category_equals_a_naive_evaluation():
    generator = torch.Generator().manual_seed(0)
    categories = ["ant", "bee", "cow"]
    sketches = items("sketch", *[categories[i % 3] for i in range(20)])
    photos = items("photo", *[categories[(i * i) % 3] for i in range(34)], "cow")
    scores = torch.randn(20, 35, generator=generator)
    task = protocols.inter_category(sketches, photos)
    outcome = protocols.measure_categories(task, by_scores(scores, photos), block=7)
    expected = []
    for row, sketch in enumerate(sketches):
        ranked = sorted(range(35), key=lambda p: -scores[row, p].item())
        hits = [photos[p].category == sketch.category for p in ranked]
        precisions = [sum(hits[: r + 1]) / (r + 1) for r in range(35) if hits[r]]
        expected.append(sum(precisions) / len(precisions))
    torch.testing.assert_close(outcome.values["map_all"], torch.tensor(expected, dtype=torch.float64))
    assert outcome.means()["map_all"] == pytest.approx(sum(expected) / 20)
    assert outcome.means(torch.tensor([3, 4]))["map_all"] == pytest.approx((expected[3] + expected[4]) / 2)
    assert task.categories == 3


def test_a_perfect_and_a_reversed_ranking():
    task = protocols.inter_category(SKETCHES, PHOTOS)
    relevance = (task.sketch_labels[:, None] == task.photo_labels).float()
    perfect = protocols.measure_categories(task, by_scores(relevance, PHOTOS))
    reverse = protocols.measure_categories(task, by_scores(-relevance, PHOTOS))
    for name in ("map_all", "map_200_strict", "map_200_lenient", "upstream_map_all", "upstream_precision_100"):
        assert perfect.means()[name] == pytest.approx(1)
        assert reverse.means()[name] < 0.6
    assert perfect.curve is not None
    assert perfect.curve.tolist() == pytest.approx([1.0] * protocols.CURVE_POINTS)
    assert perfect.values["precision_10"].tolist() == pytest.approx([0.3, 0.3, 0.2])


def test_one_sided_categories_are_named():
    with pytest.raises(DatasetError, match="no photo of: zebra"):
        protocols.inter_category(items("sketch", "ant", "zebra"), items("photo", "ant"))
    with pytest.raises(DatasetError, match="no sketch of: zebra"):
        protocols.inter_category(items("sketch", "ant"), items("photo", "ant", "zebra"))
    with pytest.raises(DatasetError, match=r"both sides have$"):
        protocols.inter_category(items("sketch", "zebra"), items("photo", "ant"))
    with pytest.raises(DatasetError, match="zebra"):
        protocols.generalised(items("sketch", "zebra"), PHOTOS)
    with pytest.raises(DatasetError, match="share no category"):
        protocols.cross_dataset(items("sketch", "zebra"), PHOTOS)


def test_a_protocol_is_advised_where_it_would_not_refuse_too():
    for sketches, photos in (
        (("ant", "zebra"), ("ant",)),
        (("ant",), ("ant", "zebra")),
        (("ant", "bee"), ("ant", "cow")),
        (("ant",), ("cow",)),
    ):
        sides = items("sketch", *sketches), items("photo", *photos)
        with pytest.raises(DatasetError) as refused:
            protocols.inter_category(*sides)
        for word, protocol in (("cross-dataset", protocols.cross_dataset), ("generalised", protocols.generalised)):
            if word in str(refused.value):
                assert protocol(*sides).sketches
            else:
                with pytest.raises(DatasetError):
                    protocol(*sides)


def test_a_generalised_gallery_counts_the_seen_photos_that_intrude():
    task = protocols.generalised(items("sketch", "ant"), PHOTOS)
    outcome = protocols.measure_categories(task, lambda rows: torch.arange(5).expand(len(rows), 5))
    assert outcome.means()["seen_share_100"] == pytest.approx(2 / 5)
    assert outcome.means()["map_all"] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)


def test_cross_dataset_keeps_to_shared_categories_under_any_spelling():
    task = protocols.cross_dataset(items("sketch", "Teddy_Bear", "zebra"), PHOTOS)
    assert [item.category for item in task.sketches] == ["Teddy_Bear"]
    assert {category_key(item.category) for item in task.photos} == {"teddybear"}
    assert task.left_out == ("ant", "zebra")


@pytest.fixture
def pairs():
    photos = items("photo", "dog", "dog", "dog", "cat", "cat")
    sketches = items("sketch", "dog", "cat", "dog")
    return Pairs(sketches, photos, (2, 3, 0))


def test_instances_in_the_whole_gallery_and_within_the_category(pairs):
    ranking = torch.tensor([[3, 4, 2, 0, 1], [0, 3, 4, 1, 2], [0, 1, 2, 3, 4]])
    outcome = protocols.measure_instances(pairs, lambda rows: ranking[rows], block=2)
    assert outcome.values["acc_1"].tolist() == [0, 0, 1]
    assert outcome.values["acc_5"].tolist() == [1, 1, 1]
    assert outcome.values["category_acc_1"].tolist() == [1, 1, 1]
    assert outcome.values["mean_reciprocal_rank"].tolist() == pytest.approx([1 / 3, 1 / 2, 1])
    assert outcome.values["chance_acc_1"].tolist() == pytest.approx([1 / 5] * 3)
    assert outcome.values["category_chance_acc_1"].tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 3])
    assert outcome.values["category_chance_acc_5"].tolist() == [1, 1, 1]


def test_the_page_and_the_docstrings_list_every_metric(pairs):
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split("\n## Metrics")[1].split("\n## ")[0]
    listed = {name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    later = {"ms_per_query", "exhaustive_top_10_kept", "exhaustive_map_200_strict_kept"}  # not of one ranking
    task = protocols.generalised(items("sketch", "ant"), PHOTOS)
    categories = protocols.measure_categories(task, lambda rows: torch.arange(5).expand(len(rows), 5)).values
    instances = protocols.measure_instances(pairs, lambda rows: torch.arange(5).expand(len(rows), 5)).values
    assert listed - later == {*categories, *instances}
    for measure, values in ((protocols.measure_categories, categories), (protocols.measure_instances, instances)):
        assert set(re.findall(r"`(\w+)`", measure.__doc__ or "")) == set(values)


def test_chance_is_what_random_orders_reach(pairs):
    generator = torch.Generator().manual_seed(0)

    def rank(rows):
        return torch.stack([torch.randperm(5, generator=generator) for _ in rows])

    means = [protocols.measure_instances(pairs, rank).means() for _ in range(600)]
    for name in ("acc_1", "category_acc_1"):
        reached = sum(mean[name] for mean in means) / len(means)
        assert reached == pytest.approx(means[0][name.replace("acc", "chance_acc")], abs=0.04)


def test_the_gallerys_order_does_not_matter_even_when_all_scores_are_equal():
    shuffle = torch.tensor([3, 0, 4, 1, 2])
    shuffled = tuple(PHOTOS[place] for place in shuffle)
    scores = torch.zeros(3, 5)
    first = protocols.measure_categories(protocols.inter_category(SKETCHES, PHOTOS), by_scores(scores, PHOTOS))
    second = protocols.measure_categories(protocols.inter_category(SKETCHES, shuffled), by_scores(scores, shuffled))
    for name, values in first.values.items():
        assert torch.equal(values, second.values[name])


def test_a_sample_is_balanced_and_seeded():
    sketches = items("sketch", *["ant"] * 50, *["bee"] * 5, *["cow"] * 20)
    rows = protocols.balanced_sample(sketches, 21, seed=1)
    counts = {name: sum(sketches[row].category == name for row in rows) for name in ("ant", "bee", "cow")}
    assert counts == {"ant": 8, "bee": 5, "cow": 8}
    assert rows == protocols.balanced_sample(sketches, 21, seed=1) == tuple(sorted(set(rows)))
    assert rows != protocols.balanced_sample(sketches, 21, seed=2)
    assert len(protocols.balanced_sample(sketches, 1000, seed=0)) == 75


def test_no_sketch_is_an_error():
    with pytest.raises(DatasetError, match="no sketch"):
        list(protocols.row_blocks(0))
