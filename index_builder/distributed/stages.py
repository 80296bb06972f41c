"""What workers of a cluster do: one stage reads and decodes files, the next encodes photos and writes their rows.

`index_builder.distributed.arrival` brings them to a worker, and what they raise back from it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from index_builder.comparing.files_to_read import FileToRead
from index_builder.comparing.known_index import ContentIndex
from index_builder.distributed.fitness import SeenFolder, check_folder
from index_builder.distributed.messages import received, sent
from index_builder.ingest.decode import DecodedPhoto, Failed, read_photo
from index_builder.ingest.encoding_engine import EncodedElsewhere
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, photo_id
from index_builder.store.quantise import StoredTokens, TokenShape
from model.config import PreprocessConfig
from model.images.opening import ImageLimits

if TYPE_CHECKING:
    from model.networks.network import Network


@dataclass(frozen=True)
class ChunkRead:
    """What the first stage made of a chunk.

    Attributes:
        read: its files, without those of `unread`.
        unread: files whose content this machine could not read. Another one may.
        node: the machine.
    """

    read: list[DecodedPhoto | Failed]
    unread: list[Failed]
    node: str


@dataclass(frozen=True)
class ChunkDone:
    """What became of a chunk.

    Attributes:
        result: of its files, without those of `unread`.
        unread, node: as of `ChunkRead`.
    """

    result: EncodedElsewhere
    unread: list[Failed]
    node: str


@dataclass(frozen=True)
class Reading:
    """The first stage.

    Attributes:
        folders, limits: as of `EncodingTask`.
        seen: the folders as the driver sees them.
        preprocess: of the network.
    """

    folders: PhotoFolders
    limits: ImageLimits
    seen: tuple[SeenFolder, ...]
    preprocess: PreprocessConfig

    def __call__(self, data: bytes, known: ContentIndex) -> bytes:
        """Files, or photos that are decoded already, -> `ChunkRead`.

        Raises:
            GalleryError: this machine does not see the photos' folders.
        """
        for folder in self.seen:
            check_folder(folder)
        done = ChunkRead([], [], socket.gethostname())
        jobs: list[FileToRead | DecodedPhoto] = received(data)
        for job in jobs:
            if isinstance(job, DecodedPhoto):
                done.read.append(job)
                continue
            one = read_photo(self.folders, job, self.preprocess, self.limits, known.has)
            if isinstance(one, Failed) and one.unknown:
                done.unread.append(one)
            else:
                done.read.append(one)
        return sent(done)


class Encoding:
    """The second stage, on a device of its own for as long as the build lasts.

    Args:
        network: encodes the photos; on the CPU.
        device, dtype: as of `load_checkpoint`.
        threads: of torch, on a CPU.
        dataset, shape, batch_size: as of `EncodingTask`.
    """

    def __init__(
        self,
        *,
        network: Network,
        device: str,
        dtype: str,
        threads: int,
        dataset: str,
        shape: TokenShape,
        batch_size: int,
    ) -> None:
        import lance
        import torch

        from index_builder.ingest.guarded_encoding import GuardedEncoder
        from model.checkpoints.files import resolve_device, resolve_dtype

        torch.set_num_threads(threads)
        place = resolve_device(device)
        ready = network.cast(place, resolve_dtype(dtype, place)).eval()
        self._encoder = GuardedEncoder(ready, shape, batch_size)
        self._dataset = lance.dataset(dataset)

    def __call__(self, data: bytes) -> bytes:
        """`ChunkRead` -> `ChunkDone`.

        Raises:
            Exception: what no photo is to blame for, see `GuardedEncoder`: a lost device, a full disk.
        """
        chunk: ChunkRead = received(data)
        return sent(ChunkDone(self._encoded(chunk.read), chunk.unread, chunk.node))

    def _encoded(self, read: Sequence[DecodedPhoto | Failed]) -> EncodedElsewhere:
        from index_builder.ingest.guarded_encoding import put_guarded

        waiting = [one for one in read if isinstance(one, DecodedPhoto) and one.pixels is not None]
        rows = _Rows(self._dataset)
        result = EncodedElsewhere([one for one in read if isinstance(one, Failed) or one.pixels is None])
        while waiting:
            size = self._encoder.batch_size  # smaller by now if the memory was too small for the batch before
            batch, waiting = waiting[:size], waiting[size:]
            encoded = self._encoder.encode(batch)
            result.passed_over.extend(encoded.failed)
            if encoded.photos:
                # The gallery has no photo of these contents, so no id that follows from them is taken.
                ids = [photo_id(photo.raw_path, photo.content_hash) for photo in encoded.photos]
                stored = StoredTokens.concatenate(encoded.stored)
                written, failed = put_guarded(rows, encoded.photos, ids, stored, replaces=False)
                result.photos.extend(written)
                result.passed_over.extend(failed)
        result.fragments.extend(rows.fragments)
        return result


class _Rows:
    """Writes rows into files of their own, which no version names yet."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.fragments: list[str] = []

    def put(self, photos: Sequence[PhotoFile], ids: Sequence[str], stored: StoredTokens, *, replaces: bool) -> None:
        """See `GalleryWriter.put`; whoever commits the rows replaces others."""
        from index_builder.store.checked_commit import write_apart
        from index_builder.store.layout import lance_errors
        from index_builder.store.rows import rows_of

        del replaces
        with lance_errors(f"cannot write to the gallery's dataset {self._dataset.uri}", writing=True):
            table = rows_of(photos, ids, stored, self._dataset.schema)
            self.fragments += write_apart(self._dataset, table)
