"""What workers of a cluster do: one stage reads and decodes files, the next encodes photos and writes their rows.

A row of Ray's dataset is one chunk of files, as one message: what Ray does with rows never splits it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from index_builder.comparing.files_to_read import FileToRead
from index_builder.comparing.known_index import ContentIndex
from index_builder.gallery_errors import GalleryError
from index_builder.ingest.decode import DecodedPhoto, Failed, read_photo
from index_builder.ingest.encoding_engine import EncodedElsewhere
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, photo_id
from index_builder.store.quantise import StoredTokens, TokenShape
from model.config import PreprocessConfig
from model.errors import SketchseekError
from model.images.decoding_memory import DecodingMemory
from model.images.opening import ImageLimits
from model.pickled_messages import packed, unpacked

Row = dict[str, Any]
"""`chunk`, a number; and `data`, see `sent`."""


def sent(value: Any) -> bytes:
    """A value for another process of the same build."""
    return b"".join(packed(value))


def received(data: bytes) -> Any:
    """What such a process has sent."""
    file = io.BytesIO(data)

    def read_into(buffer: bytearray) -> None:
        file.readinto(buffer)

    return unpacked(read_into)


@dataclass(frozen=True)
class Reading:
    """What the first stage has to know.

    Attributes:
        folders, limits: as of `EncodingTask`.
        preprocess: of the network.
        memory: bytes for decoding that one worker may take.
        known: Ray's reference to a `ContentIndex`.
    """

    folders: PhotoFolders
    limits: ImageLimits
    preprocess: PreprocessConfig
    memory: int
    known: Any

    def __call__(self, row: Row) -> Row:
        """Files -> `DecodedPhoto` or `Failed` each."""
        import ray

        known: ContentIndex = ray.get(self.known)
        limits = replace(self.limits, together=DecodingMemory(self.memory))
        jobs: list[FileToRead] = received(row["data"])
        read = [read_photo(self.folders, job, self.preprocess, limits, known.has) for job in jobs]
        return {"chunk": row["chunk"], "data": sent(read)}


class Encoding:
    """The second stage, on a device of its own for as long as the build lasts.

    Args:
        network: Ray's reference to the network, on the CPU.
        device, dtype: as of `load_checkpoint`.
        threads: of torch, on a CPU.
        dataset, shape, batch_size: as of `EncodingTask`.
    """

    def __init__(
        self,
        *,
        network: Any,
        device: str,
        dtype: str,
        threads: int,
        dataset: str,
        shape: TokenShape,
        batch_size: int,
    ) -> None:
        import lance
        import ray
        import torch

        from index_builder.ingest.guarded_encoding import GuardedEncoder
        from model.checkpoints.files import resolve_device, resolve_dtype

        torch.set_num_threads(threads)
        place = resolve_device(device)
        ready = ray.get(network).cast(place, resolve_dtype(dtype, place)).eval()
        self._encoder = GuardedEncoder(ready, shape, batch_size)
        self._dataset = lance.dataset(dataset)

    def __call__(self, row: Row) -> Row:
        """Decoded photos -> `EncodedElsewhere`, or the error that ends the build."""
        photos: list[DecodedPhoto | Failed] = received(row["data"])
        try:
            result: EncodedElsewhere | SketchseekError = self._encoded(photos)
        except SketchseekError as error:
            result = error
        except Exception as error:  # no photo is to blame, see `GuardedEncoder`: a lost device, a full disk
            said = (str(error).splitlines() or [""])[0][:200]
            result = GalleryError(
                f"a worker of the cluster cannot go on ({type(error).__name__}: {said}); what was committed is whole, "
                "mend it and run the same command again"
            )
        return {"chunk": row["chunk"], "data": sent(result)}

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
