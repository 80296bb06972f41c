"""A search with each picture of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from model.errors import BlankSketchError, ImageError, SketchseekError

if TYPE_CHECKING:
    from sketchseek_client import Result, SearchAnswer

Ask = Callable[[Path | None], "SearchAnswer"]
"""From a sketch's file to its answer."""
_OF_A_PICTURE = frozenset(
    (
        "blank_sketch",
        "body_too_large",
        "damaged_image",
        "empty_file",
        "image_file_too_large",
        "image_memory",
        "image_too_large",
        "unreadable_image",
        "unsupported_image_format",
    )
)
"""With these codes, a service refuses a picture. Anything else it would say of every sketch."""


def search_each(folder: Path, ask: Ask, *, as_json: bool) -> None:
    """Search with every picture in a folder and below it, in the order of their names, and print each answer.

    Args:
        folder: of sketches.
        ask: what searches.
        as_json: print one JSON document a line: `sketch`, and `answer` or `problem` (`code`, `detail`).

    Raises:
        SketchseekError: there is no picture; or something is wrong that is not about a sketch.
        typer.Exit: 1 at the end, if a sketch could not be searched with.
    """
    from model.images.formats.endings import ENDINGS

    sketches = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in ENDINGS)
    if not sketches:
        raise SketchseekError(f"there is no picture in {folder}")
    failed = False
    for sketch in sketches:
        name = sketch.relative_to(folder).as_posix()
        try:
            answer = ask(sketch)
        except SketchseekError as error:
            if not is_about_the_sketch(error):
                raise
            failed = True
            problem = {"code": error.code, "detail": str(error)}
            print(json.dumps({"sketch": name, "problem": problem}) if as_json else f"{name}\n      {error}", flush=True)
            continue
        if as_json:
            print(f'{{"sketch": {json.dumps(name)}, "answer": {answer.model_dump_json()}}}', flush=True)
        else:
            print(f"{name}\n{as_text(answer)}", flush=True)
    if failed:
        raise typer.Exit(1)


def is_about_the_sketch(error: SketchseekError) -> bool:
    """Whether another sketch may fare better."""
    return isinstance(error, ImageError | BlankSketchError) or error.code in _OF_A_PICTURE


def as_text(answer: SearchAnswer) -> str:
    """Rank, score and path of each result, a line each, and a line where the likely ones end."""
    lines: list[str] = []
    likely: bool | None = True
    for result in answer.results:
        if likely and result.likely is False:
            lines.append("      less likely from here:" if lines else "      nothing likely; the nearest:")
        likely = result.likely
        lines.append(f"{result.rank:4d}  {result.score:.4f}  {result.path}{_others(result)}")
    return "\n".join(lines)


def _others(result: Result) -> str:
    return f"  and {result.count - 1} like it" if result.count is not None and result.count > 1 else ""
