"""A file of descriptions, and the categories that it still lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from app.describe.generate import Generator
from model.data.descriptions import Descriptions, bundled_descriptions, read_descriptions, write_descriptions
from model.data.items import category_key


def undescribed(categories: Iterable[str], file: Path, *, again: bool = False) -> list[str]:
    """The categories that neither the file nor the package describes, each once.

    Args:
        categories: in any spelling.
        file: of descriptions; it need not exist.
        again: list categories that the package describes as well.
    """
    described = {category_key(name) for name in _in(file)}
    if not again:
        described |= {category_key(name) for name in bundled_descriptions().categories}
    return list({category_key(name): name for name in categories if category_key(name) not in described}.values())


def extend(file: Path, categories: Sequence[str], generator: Generator, progress: Callable[[int, int], None]) -> None:
    """Have categories described, and add the sentences to the file, which is made if it does not exist.

    Raises:
        DescriptionError: an answer was not usable; the file is as it was.
        DatasetError: the file cannot be read or written.
    """
    found = generator.describe(categories, progress)
    kept: Descriptions | None = read_descriptions(file) if file.is_file() else None
    write_descriptions(file, found if kept is None else kept.joined(found))


def _in(file: Path) -> Iterable[str]:
    return read_descriptions(file).categories if file.is_file() else ()
