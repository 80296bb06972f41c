"""`sketchseek convert`: a published checkpoint becomes a safetensors file that Sketchseek reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.shared_options import JsonOption


def command(
    source: Annotated[Path, typer.Argument(help="The published file (.pth).")],
    target: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Convert a checkpoint published with ZSE-SBIR; nothing in it is executed."""
    from model import convert_upstream

    done = convert_upstream(source, target)
    if as_json:
        print(json.dumps({"checkpoint": str(done.path), "sha256": done.sha256, "unused": list(done.unused)}))
    else:
        print(f"wrote {done.path} (sha256 {done.sha256}; {len(done.unused)} entries that are never used were left out)")
