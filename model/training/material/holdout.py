"""Validation categories: held out of the seen ones, so that no choice ever rests on categories a benchmark tests on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.data.items import Dataset, Item, category_key
from model.errors import ConfigurationError, DatasetError

SKETCHES, PHOTOS = 20, 35  # per category: every pair is related at each validation


def draw_categories(dataset: Dataset, count: int, seed: int) -> tuple[str, ...]:
    """Categories that have sketches and photos, drawn by `seed` whatever the order of the files.

    Raises:
        ConfigurationError: fewer than two categories would be left to train on.
    """
    sides = [{category_key(item.category) for item in items} for items in (dataset.sketches, dataset.photos)]
    both = [name for name in dataset.categories if all(category_key(name) in side for side in sides)]
    if count < 0 or len(both) < count + 2:
        raise ConfigurationError(
            f"{count} validation categories cannot be held out of {len(both)} that have sketches and photos: at least "
            "two must be left to train on; hold out fewer, or none"
        )
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(seed))
    return tuple(sorted(both[place] for place in order[:count].tolist()))


def hold_out(
    dataset: Dataset, extra: Dataset | None, categories: Sequence[str]
) -> tuple[Dataset, Dataset | None, Dataset]:
    """What is left to train on, of the dataset and of the extra sketches, and a sample of the categories held out.

    Raises:
        DatasetError: a category has no sketch or no photo.
    """
    validation = thinned(dataset.only(categories))
    lacking = [
        f"no {kind} of {name}"
        for name in categories
        for kind, items in (("sketch", validation.sketches), ("photo", validation.photos))
        if category_key(name) not in {category_key(item.category) for item in items}
    ]
    if lacking:
        raise DatasetError(f"{dataset.name or 'the dataset'} cannot be validated on: it has {', '.join(lacking)}")
    return dataset.without(categories), None if extra is None else extra.without(categories), validation


def thinned(dataset: Dataset, sketches: int = SKETCHES, photos: int = PHOTOS) -> Dataset:
    """At most so many sketches and photos of every category, spread evenly over each category's files."""
    limits = {"sketch": sketches, "photo": photos}
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in dataset.items:
        groups.setdefault((category_key(item.category), item.modality), []).append(item)
    kept = [_spread(group, limits[kind]) for (_, kind), group in groups.items()]
    return Dataset(tuple(item for group in kept for item in group), dataset.name)


def _spread(group: list[Item], limit: int) -> list[Item]:
    """At most `limit` of the items, from the first to near the last at even distances."""
    return group if len(group) <= limit else [group[place * len(group) // limit] for place in range(limit)]
