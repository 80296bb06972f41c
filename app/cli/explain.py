"""`sketchseek explain`: why a photo matches a sketch, as text, JSON or a picture."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.limit_options import LimitOptions
from app.cli.opened_gallery import open_searcher
from app.cli.option_groups import with_options
from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    SketchArgument,
)

if TYPE_CHECKING:
    from app.search.explaining import Explained
    from app.search.searcher import TwoStageSearcher
    from index_builder.photo_files.bucket import BucketFile
    from index_builder.reading.snapshot import GallerySnapshot
    from model.images.limits import ImageLimits
    from sketchseek_client import Explanation


class Picture(StrEnum):
    """What to draw."""

    OVERLAY = "overlay"
    SYNTHESIS = "synthesis"
    ATTENTION = "attention"


_SHOWN = 8


@with_options(LimitOptions, "costs")
def command(
    sketch: SketchArgument,
    photo: Annotated[
        str | None, typer.Argument(help="Id of a photo, or its path within the gallery; default: the best match.")
    ] = None,
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    photos: Annotated[
        str | None, typer.Option(help="Folder of the photos; default: the one the gallery was built from.")
    ] = None,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw into this file (PNG, JPEG or WebP by its name).")
    ] = None,
    kind: Annotated[Picture, typer.Option(help="What to draw.")] = Picture.OVERLAY,
    universal: Annotated[int, typer.Option(min=1, max=100, help="Photos a synthesis may take pieces from.")] = 1,
    as_json: JsonOption = False,
    costs: LimitOptions,
) -> None:
    """Show which part of a sketch matched which part of a photo."""
    from app.search.explaining import as_document, explain_rows, prepare_sketch
    from app.search.query_and_answer import Query
    from app.settings import load_settings
    from index_builder.gallery_errors import UnknownPhotoError
    from model.images.opening import open_image
    from model.images.preprocess import SKETCH_LONGEST_SIDE
    from sketchseek_client import Explanation

    settings = load_settings(gallery=gallery, photos=photos, checkpoint=checkpoint, device=device)
    searcher = open_searcher(settings)
    started = time.perf_counter()
    image = open_image(sketch, longest_side=SKETCH_LONGEST_SIDE, whole=True)
    prepared = prepare_sketch(searcher, image)
    decoded = time.perf_counter()
    rows: list[int] = []
    if photo is not None:
        rows.append(_row_of(searcher, photo))
    if photo is None or universal > 1:
        found = searcher.search(image, Query(top_k=max(1, universal), candidates=max(100, universal))).results
        rows += [one.row for one in found if one.row not in rows]
    if not rows:
        raise UnknownPhotoError("the gallery is empty; add photos with `sketchseek gallery add`")
    explained = explain_rows(searcher, prepared, rows[:universal])
    record = searcher.snapshot.photo(rows[0])
    document = Explanation(**as_document(searcher, explained, record.photo_id, record.width, record.height))
    document.timings_ms["decode"] = round((decoded - started) * 1000, 2)
    document.timings_ms["total"] = round((time.perf_counter() - started) * 1000, 2)
    if picture is not None:
        _draw(searcher, explained, rows[:universal], picture, kind, limits=costs.limits())
    if as_json:
        print(document.model_dump_json())
        return
    _tell(document, record.path)


def _row_of(searcher: TwoStageSearcher, photo: str) -> int:
    """The row of a photo given by id or by path.

    Raises:
        UnknownPhotoError: the gallery has neither.
    """
    from index_builder.gallery_errors import UnknownPhotoError

    snapshot = searcher.snapshot
    try:
        return snapshot.row_of(photo)
    except UnknownPhotoError:
        for row in range(len(snapshot)):
            if snapshot.photo(row).path == photo:
                return row
        raise UnknownPhotoError(f"this gallery has no photo with the id or path {photo!r}") from None


def _draw(
    searcher: TwoStageSearcher,
    explained: Explained,
    rows: list[int],
    file: Path,
    kind: Picture,
    *,
    limits: ImageLimits,
) -> None:
    from app.search.explaining import PHOTO_SIDE, draw, picture_kind
    from model.errors import ImageError
    from model.images.opening import open_shown

    opened = [open_shown(_photo(searcher.snapshot, row), limits, PHOTO_SIDE) for row in rows]
    drawn = draw(picture_kind(kind.value), searcher, explained, opened)
    try:
        drawn.save(file)
    except ValueError:
        raise ImageError(f"{file}: the name must end with .png, .jpg or .webp") from None
    except OSError as error:
        raise ImageError(f"cannot write {file}: {error.strerror}; check the path") from None


def _photo(snapshot: GallerySnapshot, row: int) -> Path | BucketFile:
    """A photo's file, on a disk or opened in a bucket.

    Raises:
        ImageError: the bucket does not give it.
    """
    from index_builder.photo_files.bucket import Bucket
    from index_builder.photo_places import BucketFolder
    from model.errors import ImageError

    photo = snapshot.photo(row)
    folder, below = snapshot.folders.folder_of(photo.raw_path)
    if not isinstance(folder.path, BucketFolder):
        return snapshot.file_of(row)
    try:
        return Bucket(folder.path).open(below)
    except OSError as error:
        raise ImageError(f"the photo {photo.path} cannot be read: {error.strerror}") from error


def _tell(explanation: Explanation, path: str) -> None:
    """The strongest correspondences as lines of text."""
    print(f"{path}  score {explanation.score:.4f}  relation {explanation.relation_score:.4f}")
    if not explanation.matches:
        print("  this network weighs the photo's patches without matching them; --kind attention draws the weights")
    for pair in explanation.correspondences[:_SHOWN]:
        row, column = divmod(pair.sketch_patch, explanation.grid)
        photo_row, photo_column = divmod(pair.photo_patch, explanation.grid)
        print(
            f"  sketch row {row + 1:2d} column {column + 1:2d}  ->  photo row {photo_row + 1:2d} column "
            f"{photo_column + 1:2d}   strength {100 * pair.weight:3.0f} %   adds {pair.contribution:+.3f}"
            f"{'   mutual' if pair.mutual else ''}{'   clear' if pair.clear else ''}"
        )
