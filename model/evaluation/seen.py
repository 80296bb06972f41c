"""Which of a test's categories a checkpoint was trained on. Figures on those are not zero-shot figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import safe_open

from model.data.items import Item, category_key


def trained_categories(checkpoint: Path) -> tuple[str, ...] | None:
    """The categories that a checkpoint says it was trained on; None where it does not say.

    Args:
        checkpoint: a file that `model.checkpoints.files` reads.
    """
    with safe_open(checkpoint, framework="pt") as file:
        story = (file.metadata() or {}).get("training", "{}")
    try:
        names = json.loads(story).get("categories")
    except (ValueError, AttributeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def joined_names(*lists: Iterable[str]) -> list[str]:
    """All names of several lists, each once (by `category_key`), sorted."""
    spelling: dict[str, str] = {}
    for names in lists:
        for name in names:
            spelling.setdefault(category_key(name), name)
    return [spelling[key] for key in sorted(spelling)]


def learnt_from(initial: Path | None, categories: Iterable[str]) -> list[str] | None:
    """The categories behind weights that began as a checkpoint and then met some; None if that one does not say."""
    if initial is None:
        return joined_names(categories)
    before = trained_categories(initial)
    return None if before is None else joined_names(before, categories)


def seen_before(sketches: Sequence[Item], trained: Iterable[str]) -> list[str]:
    """The categories of the sketches that are among those trained on, sorted."""
    known = {category_key(name) for name in trained}
    return joined_names(item.category for item in sketches if category_key(item.category) in known)
