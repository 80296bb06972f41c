"""Checksums of every file of a dataset, so that a flipped or missing byte is found and named.

Lance's files carry no checksums of their own. They never change once written, so one ledger beside the dataset holds
the size and SHA-256 of each. It is replaced as a whole after every commit and carries its own digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index_builder.gallery_errors import GalleryDamagedError
from model.whole_file import write_whole

# The one file that Lance replaces. It names the latest version, which a listing of the folder shows too.
HINT = "_versions/latest_version_hint.json"
_CHUNK = 1 << 20
# The end of a Lance file says what lies where. Lance's reader trusts it so far that damage can end the process, so it
# is checked at every opening. The rest of a large file is too much to read each time.
TAIL = 128 * 1024


@dataclass(frozen=True)
class FileSum:
    """Size in bytes and SHA-256 (hexadecimal) of one file and of its last 128 kB ("" where that was not recorded)."""

    size: int
    sha256: str
    tail: str = field(default="", compare=False)


@dataclass
class Ledger:
    """The checksums of one dataset's files.

    Attributes:
        path: of the ledger itself.
        version: the dataset's version when it was written. A kill just after a commit leaves the ledger one behind.
        files: path relative to the dataset -> checksum.
    """

    path: Path
    version: int = 0
    files: dict[str, FileSum] = field(default_factory=dict)
    _looked_at: set[str] = field(default_factory=set, repr=False, compare=False)

    @staticmethod
    def read(path: Path) -> Ledger:
        """The ledger at `path`.

        Raises:
            GalleryDamagedError: it is missing or not what was written.
        """
        try:
            values = read_json(path)
            files = {name: FileSum(int(size), *map(str, sums)) for name, (size, *sums) in values["files"].items()}
            return Ledger(path, int(values["version"]), files)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GalleryDamagedError(
                f"the list of checksums {path.name} is missing or damaged; `sketchseek gallery verify` says what else "
                "is, and building into a new folder mends it",
                [path.name],
            ) from error

    def record(self, dataset: Path, version: int) -> None:
        """Hash the files that are new since the last record, force them to disk, and replace the ledger.

        An earlier release did not record the last 128 kB of files. The first record reads such files once more and
        adds that checksum if they are what was written.
        """
        present = set(dataset_files(dataset))
        for name in [name for name in self.files if name not in present or name == HINT]:
            del self.files[name]
        for name in sorted(present - self.files.keys()):
            self.files[name] = file_sum(dataset / name, sync=True)
        for name in [name for name, known in self.files.items() if not known.tail and name not in self._looked_at]:
            self._looked_at.add(name)  # a damaged file is not read again at every commit
            with contextlib.suppress(OSError):
                actual = file_sum(dataset / name)
                if actual == self.files[name]:
                    self.files[name] = actual
        self.version = version
        files = {name: [s.size, s.sha256, s.tail] for name, s in sorted(self.files.items())}
        write_json(self.path, {"version": version, "files": files})


def dataset_files(dataset: Path) -> Iterator[str]:
    """Relative paths of the dataset's files."""
    for folder, _, names in os.walk(dataset):
        for name in names:
            yield Path(folder, name).relative_to(dataset).as_posix()


def file_sum(path: Path, *, sync: bool = False) -> FileSum:
    """Size and SHA-256 of a file, read in pieces; with `sync` it is forced to disk as well."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        if sync:
            os.fsync(file.fileno())
    return FileSum(size, digest.hexdigest(), tail_sum(path))


def tail_sum(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's last 128 kB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return hashlib.sha256(file.read()).hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Replace a JSON file by one that carries the digest of its own content."""
    write_whole(path, _sealed(values))


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not byte for byte what was written.
    """
    text = path.read_bytes()
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("digest", None) is None or _sealed(values) != text:
        raise ValueError(f"{path.name} is not what was written")
    return values


def _sealed(values: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**values, "digest": digest}, sort_keys=True) + "\n").encode()
