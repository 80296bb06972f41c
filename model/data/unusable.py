"""How images that cannot be used are named: each in one sentence, and only the first few of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.data.items import Item
from model.errors import DatasetError

_NAMED_AT_MOST = 5


def why_unusable(item: Item, reason: str) -> str:
    """One sentence: which image, or which drawing of a file, and why it cannot be used."""
    name = f"{item.path} (drawing {item.key})" if item.strokes is not None else str(item.path)
    return f"{name}: {reason}"


def first_named(sentences: Sequence[str], separator: str = "; ") -> str:
    """The first five sentences, and how many more there are."""
    more = len(sentences) - _NAMED_AT_MOST
    return separator.join([*sentences[:_NAMED_AT_MOST], *([f"and {more} more"] if more > 0 else [])])


def unusable_error(items: Sequence[Item], reasons: Mapping[int, str]) -> DatasetError:
    """The error that names what cannot be used.

    Args:
        items: all images.
        reasons: row in `items` -> why that image cannot be used.
    """
    sentences = [why_unusable(items[row], reason) for row, reason in reasons.items()]
    return DatasetError(
        f"{len(sentences)} of {len(items)} images cannot be used; mend or remove them: {first_named(sentences)}"
    )
