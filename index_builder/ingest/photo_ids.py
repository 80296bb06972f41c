"""Gives photos their ids. Nothing else does."""

from __future__ import annotations

from index_builder.comparing.known_index import KnownIndex
from index_builder.photo_record import PhotoFile, photo_id


class PhotoIds:
    """Ids for photos that come into a gallery.

    Args:
        index: the gallery before the change, whose ids are not given twice.
        earlier: the same gallery with another checkpoint. A photo that is in it keeps its id.
    """

    def __init__(self, index: KnownIndex, earlier: KnownIndex | None = None) -> None:
        self._index, self._earlier = index, earlier

    def of(self, photo: PhotoFile) -> str:
        """The id of a photo. It depends on the gallery, the path and the content, and not on what came before."""
        earlier = self._earlier
        if earlier is not None:
            row = earlier.row_at(photo.raw_path)
            if row >= 0 and earlier.hash_of(row) == photo.content_hash:
                return earlier.photo_id(row)
        used = [index for index in (self._index, earlier) if index is not None]
        # Only a photo of the same content can have this id: nobody else has to be asked.
        used = [index for index in used if index.has_content(photo.content_hash)]
        return photo_id(photo.raw_path, photo.content_hash, lambda name: any(index.has_id(name) for index in used))
