"""Names of the categories that the published benchmarks test on, and of those kept out of the bundled training."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from model.data.items import category_key
from model.errors import DatasetError

_FOLDER = resources.files("model.data") / "splits"
PUBLISHED_SPLITS = ("sketchy-25", "sketchy-21", "tu-berlin-30", "quickdraw-30")


def _names(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_category_list(path: Path) -> tuple[str, ...]:
    """Category names of a text file, one per line; lines that start with "#" are comments.

    Raises:
        DatasetError: the file is missing, unreadable or empty.
    """
    try:
        names = _names(path.read_text(encoding="utf-8-sig"))  # Notepad begins files with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the list of categories {path}: {error}") from error
    if not names:
        raise DatasetError(f"the list of categories {path} is empty; write one category per line")
    return names


def unseen_categories(split: str) -> tuple[str, ...]:
    """Test categories of a published split.

    Args:
        split: one of `PUBLISHED_SPLITS`.

    Raises:
        DatasetError: no split has this name.
    """
    if split not in PUBLISHED_SPLITS:
        raise DatasetError(f"no split is named {split!r}; choose one of {', '.join(PUBLISHED_SPLITS)}")
    return _names((_FOLDER / f"{split}.txt").read_text(encoding="utf-8"))


def reserved_categories() -> tuple[str, ...]:
    """Categories, near names included, of which nothing enters the training of a bundled checkpoint."""
    return _names((_FOLDER / "reserved.txt").read_text(encoding="utf-8"))


def is_reserved(category: str) -> bool:
    """Whether a category must stay out of the training of a bundled checkpoint."""
    return category_key(category) in {category_key(name) for name in reserved_categories()}
