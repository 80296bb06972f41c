"""Reads the folder layouts of sketch and photo collections: CATEGORY/*, alone or under two parents."""

from __future__ import annotations

from pathlib import Path

from model.data.items import Dataset, Item, Modality, source_of
from model.errors import DatasetError
from model.images.formats.endings import ENDINGS

_NAMES: dict[Modality, tuple[str, ...]] = {
    "sketch": ("sketch", "sketches"),
    "photo": ("photo", "photos", "image", "images"),
}
_PARTS = ("train", "val", "test")


def read_categories(folder: Path, modality: Modality) -> Dataset:
    """The images of FOLDER/CATEGORY/*, sorted by category and name; hidden files and other endings are passed over.

    Raises:
        DatasetError: the folder is missing, unreadable, or holds no category with an image.
    """
    items: list[Item] = []
    try:
        categories = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        for category in categories:
            items += [
                Item(path, category.name, modality, source_of(path))
                for path in sorted(category.iterdir())
                if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
            ]
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    if not items:
        raise DatasetError(f"{folder} holds no {modality}: expected {folder}/CATEGORY/*.png (or .jpg, .webp, ...)")
    return Dataset(tuple(items), folder.name)


def read_two_folders(sketches: Path, photos: Path) -> Dataset:
    """Sketches of SKETCHES/CATEGORY/* and photos of PHOTOS/CATEGORY/*.

    Raises:
        DatasetError: a folder is missing or holds no image.
    """
    return read_categories(sketches, "sketch").joined(read_categories(photos, "photo"))


def read_folders(root: Path, part: str | None = None) -> Dataset:
    """Sketches and photos of ROOT/{sketch,photo}/CATEGORY/* or ROOT/{train,val,test}/{sketch,photo}/CATEGORY/*.

    Args:
        root: the dataset's folder.
        part: "train", "val" or "test" where the dataset is divided; None reads an undivided one, or all parts of a
            divided one.

    Raises:
        DatasetError: the layout is another one, or a folder is missing; the message names it.
    """
    if not root.is_dir():
        raise DatasetError(f"the dataset folder {root} does not exist")
    if part is not None:
        return _read_pair(root / part)
    if _find(root, "sketch") or _find(root, "photo"):
        return _read_pair(root)
    parts = [name for name in _PARTS if (root / name).is_dir()]
    if not parts:
        raise DatasetError(
            f"{root} is laid out in no known way: expected {root}/sketch/CATEGORY/* and {root}/photo/CATEGORY/*, "
            f"or the same under {root}/train and {root}/val"
        )
    return Dataset(tuple(item for name in parts for item in _read_pair(root / name).items), root.name)


def _find(root: Path, modality: Modality) -> Path | None:
    return next((root / name for name in _NAMES[modality] if (root / name).is_dir()), None)


def _read_pair(root: Path) -> Dataset:
    found: dict[Modality, Path] = {}
    for modality, names in _NAMES.items():
        folder = _find(root, modality)
        if folder is None:
            raise DatasetError(f"{root} has no folder {names[0]!r}: expected {root / names[0]}/CATEGORY/*")
        found[modality] = folder
    both = read_two_folders(found["sketch"], found["photo"])
    return Dataset(both.items, root.name)
