"""`sketchseek describe`: sentences about categories, by a language model, for training with text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    categories: Annotated[list[str] | None, typer.Argument(help="Names of categories.", show_default=False)] = None,
    *,
    out: Annotated[Path, typer.Option(help="File of descriptions to write, or to add to.", show_default=False)],
    more: Annotated[
        Path | None, typer.Option("--list", help="File of more categories, one per line.", show_default=False)
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of answers, so that none is paid for twice.")] = Path(
        "runs/cache/descriptions"
    ),
    again: Annotated[bool, typer.Option("--again", help="Ask about what the package describes too.")] = False,
) -> None:
    """Ask the language model at SKETCHSEEK_LLM_URL about categories that have no sentences yet; stderr has the cost."""
    from app.describe.endpoint import endpoint_from_environment
    from app.describe.extend import extend, undescribed
    from app.describe.generate import Generator
    from model.data.splits import read_category_list

    missing = undescribed([*(categories or ()), *(read_category_list(more) if more else ())], out, again=again)
    if not missing:
        typer.echo("every category has its sentences already", err=True)
        return
    generator = Generator(endpoint_from_environment(), cache)
    try:
        extend(out, missing, generator, lambda done, total: typer.echo(f"\r{done}/{total}", err=True, nl=False))
    finally:
        spent = generator.spent
        typer.echo(
            f"\n{spent.requests} requests, {spent.cached} answers from the cache, {spent.input_tokens} + "
            f"{spent.output_tokens} tokens, cost {spent.cost(generator.endpoint):.4f}",
            err=True,
        )
