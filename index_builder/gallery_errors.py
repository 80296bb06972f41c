"""Errors about a gallery that the user can fix. Every message says how."""

from __future__ import annotations

from collections.abc import Sequence

from model.errors import SketchseekError


class GalleryError(SketchseekError):
    """Base of the errors about galleries."""

    code = "gallery_error"


class GalleryNotFoundError(GalleryError):
    """There is no gallery at this path."""

    code = "gallery_not_found"


class GalleryMismatchError(GalleryError):
    """The gallery was built with another checkpoint, another preprocessing, or from another folder."""

    code = "gallery_mismatch"


class GalleryDamagedError(GalleryError):
    """Files of the gallery are not what was written.

    Attributes:
        files: paths of the damaged files, relative to the gallery.
    """

    code = "gallery_damaged"

    def __init__(self, message: str, files: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.files = tuple(files)


class GalleryAwayError(GalleryError):
    """The object storage that holds the gallery does not answer, or refuses."""

    code = "gallery_away"


class GalleryBusyError(GalleryError):
    """Another process is writing to this gallery."""

    code = "gallery_busy"


class FolderAwayError(GalleryError):
    """A folder of photos is not there, or is not the one that the gallery knows."""

    code = "folder_away"


class PhotosUnreadableError(GalleryError):
    """Photos cannot be read at the moment, and a rebuild would lose them."""

    code = "photos_unreadable"


class GalleryWriteError(GalleryError):
    """The gallery could not be written (disk full, no permission); what was committed before is whole."""

    code = "gallery_write_failed"


class GalleryVersionGoneError(GalleryError):
    """The version that is being read was cleaned up since it was opened."""

    code = "gallery_version_gone"


class RecallServerError(GalleryError):
    """The server that finds candidates does not answer, or cannot do what it is asked."""

    code = "recall_server_away"


class RecallServerDeniedError(RecallServerError):
    """The server that finds candidates does not accept the token."""

    code = "recall_server_denied"


class CollectionGoneError(RecallServerError):
    """The server that finds candidates has no longer what was put there."""


class RecallCollectionError(GalleryError):
    """What the server that finds candidates holds belongs to another gallery."""

    code = "recall_collection_mismatch"


class UnknownPhotoError(GalleryError):
    """The gallery holds no photo of this id or path."""

    code = "unknown_photo"


class UnknownTagError(GalleryError):
    """No photo has this tag.

    Attributes:
        name: the tag.
    """

    code = "unknown_tag"

    def __init__(self, name: str) -> None:
        super().__init__(f"no photo has the tag {name!r}; `sketchseek gallery info` lists the tags")
        self.name = name


class UnknownFolderError(GalleryError):
    """No photo lies in this folder.

    Attributes:
        name: the folder.
    """

    code = "unknown_folder"

    def __init__(self, name: str) -> None:
        super().__init__(f"no photo lies in the folder {name!r}; name it as paths of results begin")
        self.name = name


class PhotosSkippedError(GalleryError):
    """Some files were skipped although a strict build was asked for."""

    code = "photos_skipped"
