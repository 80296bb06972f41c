"""`sketchseek doctor`: what is wrong with this machine, and how to fix it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
)


def command(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    host: Annotated[str | None, typer.Option(help="Address that the service will listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port that the service will listen on.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check torch, FAISS, checkpoint, gallery, photos, disk, port and keys. Exits with 1 if anything cannot work."""
    from app.settings import load_settings
    from app.setup.doctor import examine

    settings = load_settings(gallery=gallery, checkpoint=checkpoint, device=device, host=host, port=port)
    findings = list(examine(settings))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.verdict:8} {finding.check:12} {finding.says}")
            if finding.mend:
                print(f"{'':21} -> {finding.mend}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)
