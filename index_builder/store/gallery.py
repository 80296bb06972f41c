"""The gallery on disk: what it is bound to, its versions, and how one of them is opened.

A gallery is a folder:

    gallery.json                which dataset is current; replaced by one rename
    photos-G.lance/             a Lance dataset, one row per photo, one version per commit (generation G)
    photos-G.checksums.json     checksums of that dataset's files
    recall/                     search indices derived from descriptors; may be deleted at any time
    writer.lock                 empty; locked by whoever writes
    recall.lock                 empty; locked by whoever stores a search index

A rebuild for another checkpoint makes generation G + 1 beside the old one and switches `gallery.json` when it is whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from index_builder.gallery_errors import (
    GalleryDamagedError,
    GalleryMismatchError,
    GalleryNotFoundError,
    GalleryVersionGoneError,
)
from index_builder.store.checksums import TAIL, Ledger, file_sum, read_json, tail_sum
from index_builder.store.layout import (
    FORMAT,
    POINTER,
    dataset_path,
    lance_errors,
    latest_commit,
    ledger_path,
    manifest_name,
    referenced_files,
)
from index_builder.store.quantise import TOKEN_ENCODING, TokenShape

if TYPE_CHECKING:
    from model.networks.network import CheckpointIdentity, Network

METADATA_KEY = b"sketchseek"


@dataclass(frozen=True)
class GalleryMetadata:
    """What a gallery is bound to; stored in its dataset.

    Attributes:
        checkpoint, checkpoint_sha256: name and content hash of the checkpoint that encoded it.
        preprocess: identity of the photo preparation.
        shape: tokens per photo and their width.
        grid: side of the patch grid that positions count in.
        root: absolute path of the photos' folder when it was last written.
        token_encoding: how tokens are stored.
        format: of the rows.
    """

    checkpoint: str
    checkpoint_sha256: str
    preprocess: str
    shape: TokenShape
    grid: int
    root: str
    token_encoding: str = TOKEN_ENCODING
    format: int = FORMAT

    @staticmethod
    def of(network: Network, root: Path) -> GalleryMetadata:
        """A gallery's metadata for this network and these photos."""
        shape = TokenShape.of(network)
        return GalleryMetadata(
            checkpoint=network.identity.name,
            checkpoint_sha256=network.identity.sha256,
            preprocess=network.preprocess.identity,
            shape=shape,
            grid=network.grid,
            root=str(root.absolute()),
            token_encoding=shape.encoding,
        )

    def schema(self) -> pa.Schema:
        """The dataset's columns, with this metadata attached."""
        shape = self.shape
        columns = {
            "photo_id": pa.string(),
            "path": pa.binary(),
            "content_hash": pa.binary(32),
            "size": pa.int64(),
            "modified_ns": pa.int64(),
            "read_ns": pa.int64(),
            "width": pa.int32(),
            "height": pa.int32(),
            "tags": pa.list_(pa.field("item", pa.string(), nullable=False)),
            "added_ns": pa.int64(),
            "descriptor": pa.list_(pa.float32(), shape.descriptor),
            "tokens": pa.binary(shape.record_bytes),
        }
        fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
        return pa.schema(fields, metadata={METADATA_KEY: self.to_json()})

    def to_json(self) -> str:
        """As stored."""
        values = {**vars(self), "shape": self.shape.to_json()}
        return json.dumps(values, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> GalleryMetadata:
        """What `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        values: dict[str, Any] = json.loads(text)
        values["shape"] = TokenShape.from_json(values["shape"])
        return GalleryMetadata(**values)

    def check(self, identity: CheckpointIdentity, preprocess: str | None = None) -> None:
        """Refuse another checkpoint than the one the gallery was built with.

        Raises:
            GalleryMismatchError: with what to do.
        """
        if self.checkpoint_sha256 != identity.sha256 or (preprocess is not None and preprocess != self.preprocess):
            raise GalleryMismatchError(
                f"the gallery was built with checkpoint {_named(self.checkpoint, self.checkpoint_sha256)}, not with "
                f"{_named(identity.name, identity.sha256)}; use that checkpoint, or encode the photos again with "
                "`sketchseek gallery rebuild --checkpoint NAME`"
            )


class Gallery:
    """The current generation of a gallery on disk, for reading.

    Attributes:
        path: of its folder.
        generation: which dataset is current.
    """

    def __init__(self, path: Path, generation: int) -> None:
        self.path = path
        self.generation = generation

    @staticmethod
    def open(path: str | Path) -> Gallery:
        """The gallery at `path`, whatever checkpoint it was built with.

        Raises:
            GalleryNotFoundError: no gallery there.
            GalleryDamagedError: its pointer is damaged.
            GalleryMismatchError: written by a later version of Sketchseek.
        """
        path = Path(path)
        try:
            values = read_json(path / POINTER)
            generation, written_as = int(values["generation"]), int(values["format"])
        except OSError as error:
            raise GalleryNotFoundError(
                f"there is no gallery at {path}; build one with `sketchseek gallery build PHOTOS --gallery {path}`"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryDamagedError(
                f"{POINTER} of the gallery {path} is damaged; restore it from a backup, or move the gallery away and "
                "build it again",
                [POINTER],
            ) from error
        if written_as > FORMAT:
            raise GalleryMismatchError(
                f"the gallery {path} was written by a later version of Sketchseek; update Sketchseek, or build it again"
            )
        return Gallery(path, generation)

    @property
    def dataset_path(self) -> Path:
        """The current Lance dataset."""
        return dataset_path(self.path, self.generation)

    @property
    def ledger_path(self) -> Path:
        """The checksums of its files."""
        return ledger_path(self.path, self.generation)

    @property
    def version(self) -> str:
        """The latest version, as `GENERATION.COMMIT`; costs one listing of a folder."""
        return f"{self.generation}.{latest_commit(self.dataset_path)}"

    def dataset(self, commit: int | None = None) -> Any:
        """The Lance dataset of one commit (None: the latest), after the cheap checks.

        Checked at every opening: the checksum of the manifest, and size and last 128 kB of every file it names. What
        else is inside large files is checked by `verify`.

        Raises:
            GalleryDamagedError: naming the files.
            GalleryVersionGoneError: this commit was cleaned up.
        """
        commit = latest_commit(self.dataset_path) if commit is None else commit
        ledger = Ledger.read(self.ledger_path)
        manifest = manifest_name(commit)
        try:
            actual = file_sum(self.dataset_path / manifest)
        except OSError as error:
            raise self._gone(commit) from error
        if actual != ledger.files.get(manifest, actual):
            raise self._damaged([manifest])
        with lance_errors(f"cannot open the gallery {self.path}"):
            import lance

            dataset = lance.dataset(str(self.dataset_path), version=commit)
            bad = [name for name in referenced_files(dataset) if not self._is_whole(name, ledger)]
        if bad:
            raise self._damaged(bad)
        return dataset

    def metadata(self, dataset: Any) -> GalleryMetadata:
        """What the gallery is bound to, of an opened dataset.

        Raises:
            GalleryDamagedError: it cannot be read.
        """
        try:
            with lance_errors(f"cannot read the columns of the gallery {self.path}"):
                fields = dataset.schema.metadata
            return GalleryMetadata.from_json(fields[METADATA_KEY])
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryDamagedError(
                f"the metadata of the gallery {self.path} cannot be read; build the gallery again",
                [self.dataset_path.name],
            ) from error

    def _is_whole(self, name: str, ledger: Ledger) -> bool:
        file, expected = self.dataset_path / name, ledger.files.get(name)
        try:
            if expected is None or file.stat().st_size != expected.size:
                return expected is None and file.exists()
            if not expected.tail:  # of an earlier release, which recorded none; there it is the whole of a small file
                return expected.size > TAIL or file_sum(file) == expected
            return tail_sum(file) == expected.tail
        except OSError:
            return False

    def _damaged(self, names: list[str]) -> GalleryDamagedError:
        full = [f"{self.dataset_path.name}/{name}" for name in names]
        return GalleryDamagedError(
            f"the gallery {self.path} is damaged in {', '.join(full)}; restore the file from a backup, or move the "
            "gallery away and build it again",
            full,
        )

    def _gone(self, commit: int) -> GalleryVersionGoneError:
        return GalleryVersionGoneError(
            f"version {self.generation}.{commit} of the gallery {self.path} is gone; open the latest one"
        )


def latest_version(gallery: str | Path) -> str:
    """The latest version of a gallery, for polling: one small file read, one folder listed.

    Raises:
        GalleryNotFoundError: no gallery there.
        GalleryDamagedError: its pointer or its dataset is.
    """
    return Gallery.open(gallery).version


def _named(name: str, sha256: str) -> str:
    return f"{name} ({sha256[:12] or 'never saved'})"
