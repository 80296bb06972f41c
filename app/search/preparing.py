"""From pictures, words and photo ids to the parts of a query, for one version of a gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from app.search.query_parts import PartWeights, QueryParts, Vector, name_of
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.gallery_errors import UnknownPhotoError
from model.images.preprocess import to_tensor
from model.images.sent_picture import DrawnSketch


def prepare_parts(
    searcher: TwoStageSearcher,
    *,
    sketch: Callable[[], DrawnSketch] | None = None,
    text: Callable[[], Vector] | None = None,
    photo: Callable[[], Image.Image] | None = None,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    weights: PartWeights | None = None,
) -> QueryParts:
    """The parts of a query, ready for the device. Slow, so not for an event loop. What has no weight is not looked at.

    Args:
        searcher: that will search.
        sketch: gives what `SentPicture.drawn` does; or None.
        photo: gives RGB, S x S, from `photo_image`; or None.
        text: gives the direction of the words [E] (`app.search.text_encoder`); or None.
        like, unlike: photo ids.
        weights: of the parts; 1 each by default.

    Raises:
        UnknownPhotoError: the gallery lacks a photo that is liked or not.
        BlankSketchError: nothing is drawn.
        ImageError and its kinds, TextQueryError: what the given functions raise.
    """
    weights = weights or PartWeights()
    liked = rows_of(searcher.snapshot, like, "like") if weights.like else []
    unliked = rows_of(searcher.snapshot, unlike, "unlike") if weights.unlike else []
    words = text() if text is not None and weights.text else None
    config = searcher.network.preprocess
    drawn = sketch() if sketch is not None and weights.sketch else None
    taken = photo() if photo is not None and weights.photo else None
    return QueryParts(
        sketch=None if drawn is None else to_tensor(drawn.pixels, config),
        text=words,
        photo=None if taken is None else to_tensor(taken, config),
        like=liked,
        unlike=unliked,
        weights=weights,
        little_ink=drawn is not None and drawn.little_ink,
        sketch_name=None if drawn is None else name_of(drawn.pixels, "sketch"),
        photo_name=None if taken is None else name_of(taken, "photo"),
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
