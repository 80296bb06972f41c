"""What a process that decodes photos does: those that fit its own share of the memory. Others it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest.decode import DecodedPhoto, Failed, read_photo
from index_builder.photo_folders import PhotoFolders
from model.config import PreprocessConfig
from model.images.decoding_memory import DecodingMemory
from model.images.opening import ImageLimits

TASK = f"{__name__}:decoder"


class OwnShare(DecodingMemory):
    """The memory of a process that decodes one photo at a time: it waits for nobody, and refuses what is larger.

    Args:
        total: bytes that a file and its pixels take together at most.

    Attributes:
        refused: something was too large since this was set to False.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.refused = False
        self._taken = 0.0

    @contextmanager
    def file(self, size: int, until: float | None = None) -> Iterator[None]:
        """See `DecodingMemory.file`. Raises MemoryError for what is larger than the share."""
        del until
        with self._hold(2 * size):
            yield

    @contextmanager
    def pixels(self, size: float, until: float | None = None) -> Iterator[None]:
        """See `DecodingMemory.pixels`. Raises MemoryError for what is larger than the share."""
        del until
        with self._hold(size):
            yield

    @contextmanager
    def _hold(self, size: float) -> Iterator[None]:
        if self._taken + size > self.total:
            self.refused = True
            raise MemoryError("larger than the share of one process")
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size


def decoder(
    folders: PhotoFolders, preprocess: PreprocessConfig, limits: ImageLimits, share: int
) -> Callable[[Sequence[FileToRead]], list[DecodedPhoto | Failed | None]]:
    """What reads files in this process; None for one that takes more than its `share` of memory in bytes."""
    memory = OwnShare(share)
    own = replace(limits, together=memory)

    def read(job: FileToRead) -> DecodedPhoto | Failed | None:
        memory.refused = False
        result = read_photo(folders, job, preprocess, own)
        return None if memory.refused else result

    return lambda jobs: [read(job) for job in jobs]
