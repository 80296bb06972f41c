"""A dataset: sketches and photos, each with its category."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from model.errors import DatasetError

Modality: TypeAlias = Literal["sketch", "photo"]
Stroke: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
Drawing: TypeAlias = tuple[Stroke, ...]

_SOURCE = re.compile(r"([A-Za-z]+)_")


def category_key(name: str) -> str:
    """A category's name as it is compared: without case, blanks, "_" and "-", so that teddy-bear is Teddy bear.

    Letters with marks compare equal whether they are one character or two, as some file systems store them.
    """
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def source_of(path: Path) -> str:
    """The letters before the first "_" of a file's name ("tub_11057.png" -> "tub"), or "" where there are none."""
    match = _SOURCE.match(path.name)
    return match[1] if match else ""


@dataclass(frozen=True)
class Item:
    """One sketch or photo.

    Attributes:
        path: the image, or the file of drawings that holds it.
        category: as its dataset spells it.
        modality: "sketch" or "photo".
        source: where it comes from, by its file name's prefix; "" where it has none.
        strokes: the drawing itself, where the file holds strokes and no image: (x, y) lists per stroke.
        key: names the drawing within its file; "" for images.
        text: what asks in place of a sketch; "" where an image does.
    """

    path: Path
    category: str
    modality: Modality
    source: str = ""
    strokes: Drawing | None = None
    key: str = ""
    text: str = ""


@dataclass(frozen=True)
class Dataset:
    """Sketches and photos, in a stable order.

    Attributes:
        items: all of them.
        name: for messages and reports.
    """

    items: tuple[Item, ...]
    name: str = ""

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def sketches(self) -> tuple[Item, ...]:
        """The sketches, in order."""
        return tuple(item for item in self.items if item.modality == "sketch")

    @cached_property
    def photos(self) -> tuple[Item, ...]:
        """The photos, in order."""
        return tuple(item for item in self.items if item.modality == "photo")

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """One spelling per category (that of its first item), sorted by `category_key`."""
        spelling: dict[str, str] = {}
        for item in self.items:
            spelling.setdefault(category_key(item.category), item.category)
        return tuple(spelling[key] for key in sorted(spelling))

    @cached_property
    def sources(self) -> dict[str, int]:
        """Source -> number of items, most frequent first."""
        return dict(Counter(item.source for item in self.items).most_common())

    @cached_property
    def _index(self) -> dict[str, int]:
        return {category_key(name): number for number, name in enumerate(self.categories)}

    def label(self, item: Item) -> int:
        """The index of the item's category in `categories`."""
        return self._index[category_key(item.category)]

    def where(self, keep: Callable[[Item], bool]) -> Dataset:
        """The items that `keep` accepts, in order."""
        return replace(self, items=tuple(filter(keep, self.items)))

    def only(self, categories: Iterable[str]) -> Dataset:
        """The items of these categories (compared by `category_key`).

        Raises:
            DatasetError: one of the categories has no item here; the message names it.
        """
        wanted = {category_key(name): name for name in categories}
        missing = sorted(name for key, name in wanted.items() if key not in self._index)
        if missing:
            raise DatasetError(f"{self.name or 'the dataset'} has no image of: {', '.join(missing)}")
        return self.where(lambda item: category_key(item.category) in wanted)

    def without(self, categories: Iterable[str]) -> Dataset:
        """The items of all other categories; names that do not occur are ignored."""
        unwanted = {category_key(name) for name in categories}
        return self.where(lambda item: category_key(item.category) not in unwanted)

    def joined(self, other: Dataset) -> Dataset:
        """Both datasets' items, this one's first."""
        return Dataset(self.items + other.items, " + ".join(filter(None, (self.name, other.name))))
