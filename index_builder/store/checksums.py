"""Checksums of every file of a dataset, so that a flipped or missing byte is found and named.

Lance's files carry no checksums of their own. They never change once written, so one ledger beside the dataset holds
the size and SHA-256 of each. It is replaced as a whole after every commit and carries its own digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from index_builder.gallery_errors import GalleryAwayError, GalleryDamagedError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.store.places import (
    Found,
    GalleryPlace,
    Replaces,
    end_of,
    files_below,
    pieces,
    read_file,
    replace_file,
)
from model.whole_file import force_to_disk

# The one file that Lance replaces. It names the latest version, which a listing of the folder shows too.
HINT = "_versions/latest_version_hint.json"
_CHUNK = 1 << 20
# The end of a Lance file says what lies where. Lance's reader trusts it so far that damage can end the process, so it
# is checked at every opening. The rest of a large file is too much to read each time.
TAIL = 128 * 1024


@dataclass(frozen=True)
class FileSum:
    """Size in bytes and SHA-256 (hexadecimal) of one file and of its last 128 kB ("" where that was not recorded).

    In a bucket, also the e_tag. It changes with the content, so one listing tells whether files are the same.
    """

    size: int
    sha256: str
    tail: str = field(default="", compare=False)
    e_tag: str = field(default="", compare=False)


@dataclass
class Ledger:
    """The checksums of one dataset's files.

    Attributes:
        path: of the ledger itself.
        version: the dataset's version when it was written. A kill just after a commit leaves the ledger one behind.
        files: path relative to the dataset -> checksum.
    """

    path: GalleryPlace
    version: int = 0
    files: dict[str, FileSum] = field(default_factory=dict)
    _looked_at: set[str] = field(default_factory=set, repr=False, compare=False)
    _replaces: Replaces = field(default="nothing", repr=False, compare=False)

    @staticmethod
    def read(path: GalleryPlace) -> Ledger:
        """The ledger at `path`.

        Raises:
            GalleryDamagedError: it is missing or not what was written.
        """
        try:
            values, read = read_tagged_json(path)
            files = {name: FileSum(int(size), *map(str, sums)) for name, (size, *sums) in values["files"].items()}
            return Ledger(path, int(values["version"]), files, _replaces=read)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(path, BucketPath) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise GalleryAwayError(f"the list of checksums {path} cannot be read: {error.strerror}") from error
            raise GalleryDamagedError(
                f"the list of checksums {path.name} is missing or damaged; `sketchseek gallery verify` says what else "
                "is, and building into a new folder mends it",
                [path.name],
            ) from error

    def record(self, dataset: GalleryPlace, version: int, named: Callable[[], Collection[str]] | None = None) -> None:
        """Hash the files that are new since the last record, force them to disk, and replace the ledger.

        An earlier release did not record the last 128 kB of files. The first record reads such files once more and
        adds that checksum if they are what was written.

        Args:
            dataset: its folder.
            version: that is current.
            named: the data files that this version names. Others may still be being written, and get no checksum. None
                takes all.
        """
        present = {found.name: found for found in files_below(dataset)}
        for name in [name for name in self.files if name not in present or name == HINT]:
            del self.files[name]
        new = present.keys() - self.files.keys()
        if named is not None and any(name.startswith("data/") for name in new):
            whole = set(named())
            new = {name for name in new if name in whole or not name.startswith("data/")}
        for name in sorted(new):
            self.files[name] = replace(file_sum(dataset / name, sync=True), e_tag=present[name].e_tag)
        for name in [name for name, known in self.files.items() if not known.tail and name not in self._looked_at]:
            self._looked_at.add(name)  # a damaged file is not read again at every commit
            with contextlib.suppress(OSError):
                actual = file_sum(dataset / name)
                if actual == self.files[name]:
                    self.files[name] = actual
        self.version = version
        files = {name: _listed(known) for name, known in sorted(self.files.items())}
        self._replaces = write_json(self.path, {"version": version, "files": files}, replaces=self._replaces)

    def is_same(self, found: Found) -> bool:
        """Whether a listing alone tells that a file is what was recorded."""
        known = self.files.get(found.name)
        return known is not None and known.size == found.size and known.e_tag == found.e_tag != ""


def _listed(known: FileSum) -> list[Any]:
    return [known.size, known.sha256, known.tail, *([known.e_tag] if known.e_tag else [])]


def file_sum(path: GalleryPlace, *, sync: bool = False) -> FileSum:
    """Size and SHA-256 of a file, read in pieces; with `sync` it is forced to disk as well."""
    digest, size, end = hashlib.sha256(), 0, b""
    for piece in pieces(path, _CHUNK):
        digest.update(piece)
        size += len(piece)
        end = (end + piece)[-TAIL:] if len(piece) < TAIL else piece[-TAIL:]
    if sync and isinstance(path, Path):
        force_to_disk(path)
    return FileSum(size, digest.hexdigest(), hashlib.sha256(end).hexdigest())


def tail_sum(path: GalleryPlace) -> str:
    """SHA-256 (hexadecimal) of a file's last 128 kB."""
    return hashlib.sha256(end_of(path, TAIL)).hexdigest()


def write_json(path: GalleryPlace, values: dict[str, Any], *, replaces: Replaces = "anything") -> Replaces:
    """Replace a JSON file by one that carries the digest of its own content.

    `replaces`, the result and the errors are those of `places.replace_file`.
    """
    return replace_file(path, _sealed(values), replaces=replaces)


def read_json(path: GalleryPlace) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not byte for byte what was written.
    """
    return read_tagged_json(path)[0]


def read_tagged_json(path: GalleryPlace) -> tuple[dict[str, Any], Replaces]:
    """What `write_json` wrote, and what a write may replace now. Raises as `read_json`."""
    text, tag = read_file(path)
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("digest", None) is None or _sealed(values) != text:
        raise ValueError(f"{path.name} is not what was written")
    return values, tag


def _sealed(values: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**values, "digest": digest}, sort_keys=True) + "\n").encode()
