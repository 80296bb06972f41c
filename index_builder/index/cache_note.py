"""The note beside a cached index: what it was made of, and the checksums of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from index_builder.store.checksums import file_sum, read_json

CachedKind = Literal["ivf", "hash"]
"""Kinds of index that take long to make. A flat one takes less time to make than to write."""


@dataclass(frozen=True)
class Origin:
    """Which descriptors an index is made of.

    Attributes:
        version: of the gallery, "GENERATION.COMMIT".
        source: checksum of the manifest of this version; another one makes a cache stale.
        checkpoint: SHA-256 of the checkpoint that encoded them; "" for weights that were never saved.
    """

    version: str
    source: str
    checkpoint: str = ""

    @property
    def number(self) -> tuple[int, ...]:
        """The version, so that a later one is greater; () where it is none."""
        parts = str(self.version).split(".")
        return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()

    def akin(self, other: Origin) -> bool:
        """Whether both are versions of one generation, encoded by the same checkpoint, which was saved."""
        generations = {one.version.partition(".")[0] for one in (self, other)}
        return len(generations) == 1 and self.checkpoint == other.checkpoint != ""


class OtherFormatError(ValueError):
    """A note is whole, but another release of Sketchseek wrote it."""


@dataclass(frozen=True)
class Note:
    """What `VERSION-KIND.json` says.

    Attributes:
        path: of the note.
        origin: what the index is made of.
        kind: of the index.
        files: name -> SHA-256.
        more: what only this kind of index records.
    """

    path: Path
    origin: Origin
    kind: CachedKind
    files: Mapping[str, str]
    more: Mapping[str, Any]

    @staticmethod
    def read(path: Path) -> Note:
        """The note at `path`.

        Raises:
            OSError: it cannot be read.
            OtherFormatError: it is not of this release.
            ValueError: it is not what was written.
        """
        values = read_json(path)
        try:
            files = {Path(str(name)).name: str(checksum) for name, checksum in values["files"].items()}
            note = Note(path, Origin(**values["origin"]), values["kind"], files, dict(values["more"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise OtherFormatError(f"{path.name} is of another format") from error
        if note.kind not in get_args(CachedKind):
            raise OtherFormatError(f"{path.name} is of a kind that is no longer cached")
        return note

    def file(self, suffix: str) -> Path:
        """The file whose name ends so.

        Raises:
            OSError: it is gone.
            ValueError: it is not what was written.
        """
        name = next((name for name in self.files if name.endswith(suffix)), None)
        if name is None or file_sum(self.path.with_name(name)).sha256 != self.files[name]:
            raise ValueError(f"the file {suffix} is not what was written")
        return self.path.with_name(name)
