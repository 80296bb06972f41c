"""What a gallery is bound to: its checkpoint, its photos' folder, and the columns of its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from index_builder.gallery_errors import GalleryMismatchError
from index_builder.photo_folders import PhotoFolders
from index_builder.store.quantise import TOKEN_ENCODING, TokenShape

if TYPE_CHECKING:
    from model.networks.network import CheckpointIdentity, Network

FORMAT = 2
"""Of galleries that this release writes; it reads earlier ones as well.

In 2, folders have names, links and patterns, and photos may be incomplete: a release that knows only 1 would lose that.
"""
DATE = "taken_ns"
"""Column of the date taken."""
OPTIONAL_COLUMNS = {"incomplete": pa.bool_(), DATE: pa.int64()}
"""Columns that galleries of earlier releases lack; they come last, in this order. Nobody looked where a value is null.
"""
METADATA_KEY = b"sketchseek"


@dataclass(frozen=True)
class GalleryMetadata:
    """What a gallery is bound to; stored in its dataset.

    Attributes:
        checkpoint, checkpoint_sha256: name and content hash of the checkpoint that encoded it.
        preprocess: identity of the photo preparation.
        shape: tokens per photo and their width.
        grid: side of the patch grid that positions count in.
        folders: which photos belong to it.
        token_encoding: how tokens are stored.
        format: of the rows.
    """

    checkpoint: str
    checkpoint_sha256: str
    preprocess: str
    shape: TokenShape
    grid: int
    folders: PhotoFolders
    token_encoding: str = TOKEN_ENCODING
    format: int = FORMAT

    @staticmethod
    def of(network: Network, folders: PhotoFolders) -> GalleryMetadata:
        """A gallery's metadata for this network and these photos."""
        shape = TokenShape.of(network)
        return GalleryMetadata(
            checkpoint=network.identity.name,
            checkpoint_sha256=network.identity.sha256,
            preprocess=network.preprocess.identity,
            shape=shape,
            grid=network.grid,
            folders=folders,
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
        fields += [pa.field(name, kind) for name, kind in OPTIONAL_COLUMNS.items()]
        return pa.schema(fields, metadata={METADATA_KEY: self.to_json()})

    def to_json(self) -> str:
        """As stored."""
        values = {**vars(self), "shape": self.shape.to_json(), "root": self.folders.to_stored()}
        del values["folders"]
        return json.dumps(values, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> GalleryMetadata:
        """What `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        values: dict[str, Any] = json.loads(text)
        values["shape"] = TokenShape.from_json(values["shape"])
        values["folders"] = PhotoFolders.from_stored(values.pop("root"))
        return GalleryMetadata(**values)

    def check(self, identity: CheckpointIdentity, preprocess: str | None = None) -> None:
        """Check that the gallery was built with this checkpoint.

        Raises:
            GalleryMismatchError: it was built with another one.
        """
        if self.checkpoint_sha256 != identity.sha256 or (preprocess is not None and preprocess != self.preprocess):
            raise GalleryMismatchError(
                f"the gallery was built with checkpoint {_named(self.checkpoint, self.checkpoint_sha256)}, not with "
                f"{_named(identity.name, identity.sha256)}; use that checkpoint, or encode the photos again with "
                "`sketchseek gallery rebuild --checkpoint NAME`"
            )


def _named(name: str, sha256: str) -> str:
    return f"{name} ({sha256[:12] or 'never saved'})"
