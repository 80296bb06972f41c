"""What reads and encodes photos somewhere else: what a build asks of it, and what it gives back."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from index_builder.comparing.files_to_read import FileToRead
from index_builder.comparing.known_index import ContentIndex
from index_builder.ingest.decode import DecodedPhoto, Failed
from index_builder.photo_folders import PhotoFolders
from index_builder.store.quantise import TokenShape
from model.images.opening import ImageLimits

if TYPE_CHECKING:
    from model.networks.network import Network


@dataclass(frozen=True)
class EncodingTask:
    """What an engine has to know of a build.

    Attributes:
        network: encodes the photos.
        folders: where they lie.
        dataset: address of the Lance dataset that gets the rows.
        shape: of the encodings that it stores.
        known: contents that need no encoding, for the gallery has one.
        limits: what one photo may cost.
        batch_size: photos that the network encodes at once; None takes what suits its device.
    """

    network: Network
    folders: PhotoFolders
    dataset: str
    shape: TokenShape
    known: ContentIndex
    limits: ImageLimits
    batch_size: int | None


@dataclass(frozen=True)
class EncodedElsewhere:
    """What became of some files. Every file of a build is in exactly one of these.

    Attributes:
        passed_over: what cannot become a photo, and photos of known contents, without pixels.
        photos: those that were encoded, without pixels.
        fragments: their rows, written and not committed; as Lance writes fragments as JSON.
    """

    passed_over: list[DecodedPhoto | Failed] = field(default_factory=list)
    photos: list[DecodedPhoto] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.passed_over) + len(self.photos)


class EncodingEngine(Protocol):
    """Reads and encodes photos, and writes their rows. The caller commits them."""

    def encode(self, jobs: Iterable[FileToRead], task: EncodingTask) -> Generator[EncodedElsewhere, None, None]:
        """What becomes of each file, in any order.

        Raises:
            GalleryError: what no photo is to blame for. Rows that nobody has committed are leftovers.
        """
        ...
