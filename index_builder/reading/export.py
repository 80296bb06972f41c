"""What a gallery is, in figures, and its descriptors for other tools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index_builder.gallery_errors import GalleryError, GalleryWriteError
from index_builder.photo_record import composed_tags, shown_path
from index_builder.store.gallery import Gallery
from index_builder.store.layout import generations_in, lance_errors, manifest_name, reached, referenced_files
from index_builder.store.places import GalleryPlace, files_below, on_disk
from index_builder.store.token_reader import fixed_size
from model.whole_file import whole_file

_BATCH_ROWS = 4096
_MOST_NAMED = 100


@dataclass(frozen=True)
class GalleryInfo:
    """A gallery in figures.

    Attributes:
        gallery: its absolute path, or its address.
        root: the folder of its photos, or several as NAME=PATH with colons between them.
        photos: how many.
        version: the latest.
        checkpoint, checkpoint_sha256, preprocess, token_encoding: what it is bound to.
        tokens_per_photo, token_width, descriptor_size: N, D, E.
        bytes_per_photo: of the files that the latest version reads.
        bytes_on_disk: of everything, with older versions and the recall cache.
        unfinished_rebuild: whether a rebuild was begun and not finished.
        incomplete: how many photos have files that end early; None for a gallery of an earlier release, which does not
            know.
        incomplete_photos: the first of their paths.
    """

    gallery: str
    root: str
    photos: int
    version: str
    checkpoint: str
    checkpoint_sha256: str
    preprocess: str
    token_encoding: str
    tokens_per_photo: int
    token_width: int
    descriptor_size: int
    bytes_per_photo: float
    bytes_on_disk: int
    unfinished_rebuild: bool
    incomplete: int | None
    incomplete_photos: list[str]


def gallery_info(gallery: str | GalleryPlace) -> GalleryInfo:
    """The figures of a gallery's latest version.

    Raises:
        GalleryError: there is none, or it is damaged.
    """
    opened = Gallery.open(gallery)
    dataset = opened.dataset()
    metadata = opened.metadata(dataset)
    photos = int(dataset.count_rows())
    names = [*referenced_files(dataset), manifest_name(dataset.version)]
    with reached(opened.path):
        everything = {found.name: found.size for found in files_below(opened.path)}
    used = sum(everything[f"{opened.dataset_path.name}/{name}"] for name in names)
    incomplete = _incomplete(dataset)
    unfinished = any(made > opened.generation for made in generations_in(opened.path))
    return GalleryInfo(
        gallery=str(opened.path if (folder := on_disk(opened.path)) is None else folder.absolute()),
        root=str(metadata.folders),
        photos=photos,
        version=f"{opened.generation}.{dataset.version}",
        checkpoint=metadata.checkpoint,
        checkpoint_sha256=metadata.checkpoint_sha256,
        preprocess=metadata.preprocess,
        token_encoding=metadata.token_encoding,
        tokens_per_photo=metadata.shape.tokens,
        token_width=metadata.shape.width,
        descriptor_size=metadata.shape.descriptor,
        bytes_per_photo=round(used / photos, 1) if photos else 0.0,
        bytes_on_disk=sum(everything.values()),
        unfinished_rebuild=unfinished,
        incomplete=None if incomplete is None else len(incomplete),
        incomplete_photos=[shown_path(path) for path in (incomplete or [])[:_MOST_NAMED]],
    )


def _incomplete(dataset: Any) -> list[bytes] | None:
    """Paths of photos whose files end early, in order; None where nobody noted them."""
    if "incomplete" not in dataset.schema.names:
        return None
    with lance_errors("cannot read the photos of the gallery"):
        return sorted(dataset.to_table(columns=["path"], filter="incomplete").column("path").to_pylist())


def export_descriptors(gallery: str | GalleryPlace, output: str | Path) -> int:
    """Write the descriptors of the latest version to one file, which appears whole or not at all.

    `NAME.parquet` gets the columns photo_id, path, tags, width, height and descriptor. `NAME.npy` gets [n, E] float32,
    and `NAME.ids.txt` beside it the photo ids in the same order, one per line. Memory stays flat.

    Returns:
        n, the number of photos.

    Raises:
        GalleryError: no gallery there, damaged, or another file name ending.
        GalleryWriteError: the output cannot be written.
    """
    output = Path(output)
    if output.suffix not in (".npy", ".parquet"):
        raise GalleryError(f"cannot export to {output.name}; choose a name that ends in .npy or .parquet")
    opened = Gallery.open(gallery)
    dataset = opened.dataset()
    size = opened.metadata(dataset).shape.descriptor
    write = _write_npy if output.suffix == ".npy" else _write_parquet
    try:
        return write(output, _rows(dataset), int(dataset.count_rows()), size)
    except OSError as error:
        raise GalleryWriteError(
            f"cannot write {output}: {error.strerror or error}; check the path and the disk"
        ) from error


def _rows(dataset: Any) -> Iterator[pa.Table]:
    columns = ["photo_id", "path", "tags", "width", "height", "descriptor"]
    with lance_errors("cannot read the descriptors of the gallery"):
        for batch in dataset.to_batches(columns=columns, batch_size=_BATCH_ROWS):
            yield pa.table(batch)


def _write_npy(path: Path, tables: Iterator[pa.Table], count: int, size: int) -> int:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, size)}
    with (
        whole_file(path) as array_file,
        whole_file(path.with_suffix(".ids.txt")) as ids_file,
        array_file.open("wb") as array,
        ids_file.open("w") as ids,
    ):
        np.lib.format.write_array_header_1_0(array, header)
        for table in tables:
            array.write(fixed_size(table, "descriptor").tobytes())
            ids.writelines(f"{photo}\n" for photo in table.column("photo_id").to_pylist())
    return count


def _write_parquet(path: Path, tables: Iterator[pa.Table], _count: int, size: int) -> int:
    kinds = {
        "photo_id": pa.string(),
        "path": pa.string(),
        "tags": pa.list_(pa.string()),
        "width": pa.int32(),
        "height": pa.int32(),
        "descriptor": pa.list_(pa.float32(), size),
    }
    done = 0
    schema = pa.schema(list(kinds.items()))
    with whole_file(path) as unfinished, pq.ParquetWriter(unfinished, schema) as writer:
        for table in tables:
            shown = pa.array([shown_path(raw) for raw in table.column("path").to_pylist()], type=pa.string())
            tags = pa.array([composed_tags(tags) for tags in table.column("tags").to_pylist()], type=kinds["tags"])
            own = {"path": shown, "tags": tags}
            columns = [own[name] if name in own else table.column(name).cast(kind) for name, kind in kinds.items()]
            writer.write_table(pa.table(columns, schema=schema))
            done += len(table)
    return done
