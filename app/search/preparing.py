"""From opened pictures and photo ids to the parts of a query, for one version of a gallery."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from app.search.query_parts import PartWeights, QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.gallery_errors import UnknownPhotoError


def prepare_parts(
    searcher: TwoStageSearcher,
    *,
    sketch: Image.Image | None = None,
    photo: Image.Image | None = None,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    weights: PartWeights | None = None,
) -> QueryParts:
    """The parts of a query, ready for the device. Slow, so not for an event loop.

    Args:
        searcher: that will search.
        sketch, photo: upright pixels in any mode, or None.
        like, unlike: photo ids.
        weights: of the parts; 1 each by default.

    Raises:
        BlankSketchError: nothing is drawn.
        UnknownPhotoError: the gallery lacks a photo that is liked or not.
    """
    liked, unliked = rows_of(searcher.snapshot, like, "like"), rows_of(searcher.snapshot, unlike, "unlike")
    return QueryParts(
        sketch=None if sketch is None else searcher.prepare(sketch),
        photo=None if photo is None else searcher.prepare_photo(photo),
        like=liked,
        unlike=unliked,
        weights=weights or PartWeights(),
    )


def rows_of(snapshot: GallerySnapshot, photo_ids: Sequence[str], name: str) -> list[int]:
    """The rows of the photos.

    Args:
        snapshot: the version.
        photo_ids: of the photos.
        name: of the part that names them, for the error.

    Raises:
        UnknownPhotoError: the version lacks one of them.
    """
    try:
        return [snapshot.row_of(photo_id) for photo_id in photo_ids]
    except UnknownPhotoError:
        raise UnknownPhotoError(
            f"`{name}` names a photo that this gallery does not have; it may have been changed or removed since"
        ) from None
