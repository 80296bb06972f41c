"""Which version of Sketchseek this is."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

_NAME = "sketchseek"


def version() -> str:
    """That of the installed package, or of the source tree if it is only on the path; "unknown" if neither tells."""
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"]) if project["name"] == _NAME else "unknown"
    except (OSError, ValueError, KeyError):
        return "unknown"
