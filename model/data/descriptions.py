"""Descriptions of categories in a few sentences, for training with text.

`categories.json` comes with the package and holds the categories of common sketch datasets; its sentences were written
by a language model. `sketchseek describe` asks one for more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from model.data.items import category_key
from model.errors import DatasetError
from model.whole_file import write_whole

QUESTIONS = (
    "What does it look like?",
    "Which parts does it have?",
    "Where is it found?",
)
_BUNDLED = "categories.json"


@dataclass(frozen=True)
class Descriptions:
    """Sentences that describe categories.

    Attributes:
        written_by: who wrote them.
        questions: what the sentences answer, in their order.
        categories: name -> one sentence per question.
    """

    written_by: str
    questions: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    def of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The sentences of some categories, named in any spelling.

        Raises:
            DatasetError: names those that have none.
        """
        known = {category_key(name): sentences for name, sentences in self.categories.items()}
        missing = [name for name in names if category_key(name) not in known]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise DatasetError(
                f"no sentences describe {shown}: write them to a file, or have `sketchseek describe` write it, and "
                "give it with --descriptions; or train without them: --set weights.sentences=0"
            )
        return [known[category_key(name)] for name in names]

    def joined(self, other: Descriptions) -> Descriptions:
        """Both, with the other's sentences where both describe a category."""
        ours = {category_key(name): (name, sentences) for name, sentences in self.categories.items()}
        ours |= {category_key(name): (name, sentences) for name, sentences in other.categories.items()}
        return Descriptions(
            written_by=" and ".join(dict.fromkeys([self.written_by, other.written_by])),
            questions=self.questions if len(self.questions) >= len(other.questions) else other.questions,
            categories=dict(ours.values()),
        )


def bundled_descriptions() -> Descriptions:
    """The descriptions that come with the package."""
    return _parsed((resources.files("model.data") / "descriptions" / _BUNDLED).read_text(encoding="utf-8"), _BUNDLED)


def read_descriptions(path: Path) -> Descriptions:
    """The descriptions of a file.

    Raises:
        DatasetError: the file is missing or of another format.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the descriptions {path}: {error}") from error
    return _parsed(text, str(path))


def write_descriptions(path: Path, descriptions: Descriptions) -> None:
    """Write a file that `read_descriptions` reads, one category per line; it appears whole or not at all.

    Raises:
        DatasetError: it cannot be written there.
    """
    lines = [
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(list(sentences), ensure_ascii=False)}"
        for name, sentences in sorted(descriptions.categories.items())
    ]
    head = json.dumps({"written_by": descriptions.written_by, "questions": list(descriptions.questions)}, indent=1)
    body = ",\n".join(lines)
    try:
        write_whole(path, f'{head[:-2]},\n "categories": {{\n{body}\n }}\n}}\n')
    except OSError as error:
        raise DatasetError(
            f"the descriptions cannot be written to {path} ({error.strerror}): give a file in a folder that is there "
            "and has room"
        ) from error


def _parsed(text: str, source: str) -> Descriptions:
    try:
        values: dict[str, Any] = json.loads(text)
        categories = {str(name): tuple(map(_sentence, said)) for name, said in values["categories"].items()}
        questions = tuple(map(_sentence, values["questions"]))
        if not all(categories.values()):
            raise ValueError("a category has no sentence")
        return Descriptions(str(values["written_by"]), questions, categories)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{source} is no file of descriptions ({error}): it reads {{"written_by": "...", "questions": ["..."], '
            '"categories": {"NAME": ["one sentence per question", ...]}}'
        ) from error


def _sentence(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no sentence")
    return value.strip()
