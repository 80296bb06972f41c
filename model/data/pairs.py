"""Reads instance-level pairs: sketches, each drawn from one particular photo."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.folders import read_folders
from model.data.items import Dataset, Item, category_key, source_of
from model.errors import DatasetError

_COLUMNS = ("category", "sketch", "photo")
_SKETCHY_NAME = re.compile(r"((?:[A-Za-z]+_)?n\d+_\d+)-\d+")  # a collection may mark it by a prefix of its own


@dataclass(frozen=True)
class Pairs:
    """Sketches with the photo each was drawn from.

    Attributes:
        sketches: S sketches.
        photos: P photos, each once.
        own_photo: S indices into `photos`.
    """

    sketches: tuple[Item, ...]
    photos: tuple[Item, ...]
    own_photo: tuple[int, ...]

    @property
    def dataset(self) -> Dataset:
        """The same images without the pairing."""
        return Dataset(self.sketches + self.photos, "pairs")

    def only(self, categories: Sequence[str]) -> Pairs:
        """The pairs of these categories.

        Raises:
            DatasetError: one of the categories has no pair, or none is asked for; the message names it.
        """
        wanted = {category_key(name): name for name in categories}
        missing = wanted.keys() - {category_key(self.photos[photo].category) for photo in self.own_photo}
        if missing:
            raise DatasetError(f"no pair is of: {', '.join(sorted(wanted[key] for key in missing))}")
        photos = [p for p, photo in enumerate(self.photos) if category_key(photo.category) in wanted]
        place = {photo: new for new, photo in enumerate(photos)}
        rows = [s for s, photo in enumerate(self.own_photo) if photo in place]
        if not rows:
            raise DatasetError(f"no pair is of the categories {', '.join(categories)}")
        return Pairs(
            tuple(self.sketches[s] for s in rows),
            tuple(self.photos[p] for p in photos),
            tuple(place[self.own_photo[s]] for s in rows),
        )

    def without(self, categories: Sequence[str]) -> Pairs:
        """The pairs of all other categories, with their photos.

        Raises:
            DatasetError: none is left.
        """
        gone = {category_key(name) for name in categories}
        kept = {self.photos[own].category for own in self.own_photo}
        kept = {name for name in kept if category_key(name) not in gone}
        if not kept:
            raise DatasetError("every pair is of a category that is left out or held out")
        return self.only(sorted(kept))


def pairs_at(place: Path) -> Pairs:
    """The pairs of a table, or of a folder: a table `pairs.csv` in it, or Sketchy's names, tell which.

    Raises:
        DatasetError: as of `read_pairs` and `pairs_by_name`.
    """
    if place.is_dir() and not (place / "pairs.csv").exists():
        return pairs_by_name(read_folders(place))
    return read_pairs(place)


def read_pairs(table: Path) -> Pairs:
    """The pairs of a CSV file with the columns category, sketch, photo.

    Images lie in sketch/CATEGORY/ and photo/CATEGORY/ beside the table. Photos come in the order in which the table
    first names them. Images that are missing on disk are listed too: decoding tells which they are.

    Args:
        table: the CSV file, or the folder that holds it as pairs.csv.

    Raises:
        DatasetError: the table is missing or a line is damaged; the message names it.
    """
    table = table / "pairs.csv" if table.is_dir() else table
    root = table.parent
    sketches: list[Item] = []
    photos: dict[Path, Item] = {}
    places: dict[Path, int] = {}
    own: list[int] = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read the table of pairs {table}: {error}") from error
    for number, row in enumerate(rows, start=2):
        category, sketch_name, photo_name = (row.get(column) for column in _COLUMNS)
        if not category or not sketch_name or not photo_name:
            raise DatasetError(f"{table}, line {number}: expected the columns {', '.join(_COLUMNS)}, all filled")
        sketch = root / "sketch" / category / sketch_name
        photo = root / "photo" / category / photo_name
        if photo not in photos:
            places[photo] = len(photos)
            photos[photo] = Item(photo, category, "photo", source_of(photo))
        sketches.append(Item(sketch, category, "sketch", source_of(sketch)))
        own.append(places[photo])
    if not sketches:
        raise DatasetError(f"the table of pairs {table} is empty")
    return Pairs(tuple(sketches), tuple(photos.values()), tuple(own))


def pairs_by_name(dataset: Dataset) -> Pairs:
    """Sketchy's pairs, which its file names tell: sketch n02103406_1011-2.png was drawn from photo n02103406_1011.jpg.

    Photos without a sketch stay in the gallery. The gallery must be Sketchy's base folder alone, because its extension
    holds every base photo once more.

    Raises:
        DatasetError: a sketch's name is of another kind, its photo is missing, or two photos have its photo's name.
    """
    places: dict[tuple[str, str], int] = {}
    for place, photo in enumerate(dataset.photos):
        name = (category_key(photo.category), photo.path.stem)
        if name in places:
            raise DatasetError(
                f"{photo.path} and {dataset.photos[places[name]].path} have one name; keep one of them in the gallery"
            )
        places[name] = place
    own: list[int] = []
    for sketch in dataset.sketches:
        match = _SKETCHY_NAME.fullmatch(sketch.path.stem)
        if match is None:
            raise DatasetError(f"{sketch.path} does not name its photo: expected a name like n02103406_1011-2.png")
        own_place = places.get((category_key(sketch.category), match[1]))
        if own_place is None:
            raise DatasetError(f"{sketch.path} was drawn from the photo {match[1]}, which is not in the dataset")
        own.append(own_place)
    if not own:
        raise DatasetError("the dataset holds no sketch")
    return Pairs(dataset.sketches, dataset.photos, tuple(own))
