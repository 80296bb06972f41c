"""What is measured on: which sketches meet which photos, read from disk, sampled, and without what cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, overload

from model.data.filelists import read_file_lists
from model.data.folders import read_categories
from model.data.items import Dataset, Item, category_key
from model.data.pairs import Pairs, pairs_by_name, read_pairs
from model.data.unusable import first_named
from model.errors import ConfigurationError, DatasetError
from model.evaluation import protocols
from model.evaluation.protocols import CategoryTask

PROTOCOLS = ("inter-category", "generalised", "cross-dataset", "instance")
Task: TypeAlias = CategoryTask | Pairs


def folder_task(sketches: Path, photos: Path, protocol: str, categories: Sequence[str] = ()) -> Task:
    """The task of two folders that hold CATEGORY/*.

    Args:
        sketches, photos: the folders.
        protocol: one of `PROTOCOLS`. "instance" reads Sketchy's pairs off the file names.
        categories: keep these alone; in the generalised protocol the gallery keeps all. () keeps all.

    Raises:
        DatasetError: a folder or a category is missing, or the protocol does not fit the images.
        ConfigurationError: no protocol has this name.
    """
    queries, gallery = read_categories(sketches, "sketch"), read_categories(photos, "photo")
    if categories:
        queries = queries.only(categories)
        if protocol != "generalised":
            wanted = {category_key(name) for name in categories}
            gallery = gallery.where(lambda item: category_key(item.category) in wanted)
    return _task(queries.items, gallery.items, protocol)


def file_list_task(root: Path, split: str, protocol: str) -> Task:
    """The test images of a published split, in upstream's file lists; for "generalised" the training photos as well.

    Raises:
        DatasetError: a list is missing or damaged, or none of its images is there.
        ConfigurationError: no protocol has this name.
    """
    test = read_file_lists(root, split, "test", instance_gallery=protocol == "instance")
    photos = test.photos
    if protocol == "generalised":
        photos += read_file_lists(root, split, "train").photos
    return _task(test.sketches, photos, protocol)


def pairs_task(table: Path, categories: Sequence[str] = ()) -> Pairs:
    """Instance-level pairs of a table, or those of some categories.

    Raises:
        DatasetError: the table is missing or damaged, or no pair is of these categories.
    """
    pairs = read_pairs(table)
    return pairs.only(categories) if categories else pairs


def _task(sketches: tuple[Item, ...], photos: tuple[Item, ...], protocol: str) -> Task:
    if protocol == "instance":
        return pairs_by_name(Dataset(sketches + photos))
    makers = {
        "inter-category": protocols.inter_category,
        "generalised": protocols.generalised,
        "cross-dataset": protocols.cross_dataset,
    }
    if protocol not in makers:
        raise ConfigurationError(f"no protocol is named {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    return makers[protocol](sketches, photos)


def sampled(task: Task, count: int, seed: int) -> Task:
    """The task with a balanced sample of `count` sketches, drawn by the seed; all of them where `count` is 0."""
    if not 0 < count < len(task.sketches):
        return task
    return _with_sketches(task, protocols.balanced_sample(task.sketches, count, seed))


def without_sketches(task: Task, unusable: Mapping[int, str]) -> Task:
    """The task without some sketches.

    Args:
        task: S sketches and P photos.
        unusable: row among the sketches -> a sentence that says which image cannot be used, and why.

    Raises:
        DatasetError: a category loses all its sketches.
    """
    if not unusable:
        return task
    left = _with_sketches(task, [row for row in range(len(task.sketches)) if row not in unusable])
    _check_categories("sketch", task.sketches, left.sketches, unusable)
    return left


def without_photos(task: Task, unusable: Mapping[int, str]) -> Task:
    """The task without some photos; of pairs, also without the sketches that were drawn from them.

    Args:
        task: S sketches and P photos.
        unusable: row among the photos -> a sentence that says which image cannot be used, and why.

    Raises:
        DatasetError: a category loses all its photos.
    """
    if not unusable:
        return task
    rows = [row for row in range(len(task.photos)) if row not in unusable]
    photos = tuple(task.photos[row] for row in rows)
    _check_categories("photo", task.photos, photos, unusable)
    if isinstance(task, CategoryTask):
        distractors = None if task.distractors is None else task.distractors[rows]
        return replace(task, photos=photos, photo_labels=task.photo_labels[rows], distractors=distractors)
    drawn = _with_sketches(task, [row for row, photo in enumerate(task.own_photo) if photo not in unusable])
    _check_categories("sketch with its photo", task.sketches, drawn.sketches, unusable)
    place = {photo: new for new, photo in enumerate(rows)}
    return Pairs(drawn.sketches, photos, tuple(place[photo] for photo in drawn.own_photo))


@overload
def _with_sketches(task: Pairs, rows: Sequence[int]) -> Pairs: ...


@overload
def _with_sketches(task: CategoryTask, rows: Sequence[int]) -> CategoryTask: ...


def _with_sketches(task: Task, rows: Sequence[int]) -> Task:
    sketches = tuple(task.sketches[row] for row in rows)
    if isinstance(task, Pairs):
        return replace(task, sketches=sketches, own_photo=tuple(task.own_photo[row] for row in rows))
    return replace(task, sketches=sketches, sketch_labels=task.sketch_labels[list(rows)])


def _check_categories(kind: str, before: Sequence[Item], after: Sequence[Item], unusable: Mapping[int, str]) -> None:
    """Raises DatasetError where a category of `before` has nothing in `after`."""
    left = {category_key(item.category) for item in after}
    lost = {category_key(item.category): item.category for item in before if category_key(item.category) not in left}
    if lost:
        raise DatasetError(
            f"no {kind} can be used of: {first_named(sorted(lost.values()), ', ')}; mend the images or leave these "
            f"categories out: {first_named(list(unusable.values()))}"
        )
