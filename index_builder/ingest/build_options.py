"""How a gallery is built: what a user may choose. None of it changes what is built."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.passed_over import Report
from index_builder.store.folder_looks import Held
from model.images.opening import ImageLimits

if TYPE_CHECKING:
    import torch

    from index_builder.ingest.encoding_engine import EncodingEngine

_MAX_WORKERS = 16
BATCH, GPU_BATCH = 32, 256
"""Photos that a network encodes at once, on a CPU and on a GPU."""
_WORKERS_OF_A_BUCKET = 16  # which wait for answers most of the time
_FEWEST_WORKERS, _FEWEST_PHOTOS = 4, 1000  # below, processes cost more than they bring


@dataclass(frozen=True)
class BuildOptions:
    """How a gallery is built; none of it changes what is built.

    Attributes:
        batch_size: photos that the network encodes at once; None takes 32 on a CPU, 256 on a GPU.
        commit_photos: photos per commit, at least one batch, and up to 8 times as many where the disk is slower than
            the network. A build that is killed loses no more than what was not committed.
        commit_s: seconds after which a batch is committed even if it is smaller.
        workers: threads that decode; None takes one per core that this process may use, at most 16. Photos in buckets
            take 16 at least, which mostly wait; 0 is none, for everything.
        processes: processes that decode for these threads; None takes one for each of four threads and more, where
            enough photos are to be read for the processes' start. 0 decodes in the threads.
        limits: what one photo may cost.
        strict: raise `PhotosSkippedError` at the end if anything was wrong with a file. A sidecar is not wrong.
        check_contents: read every file, even if its size and modification time have not changed.
        wait_s: seconds to wait for another writer.
        moved: accept that the photos' folder has moved.
        on_passed_over: called for every file and folder that was passed over, from one thread at a time.
        most_lost: per cent of a folder's photos that may be gone or changed at once; more are held. 100 holds only what
            a folder without any of its photos, or one that is not the same any more, would lose.
        engine: reads and encodes photos, for example on a cluster; None does so in this process, and `rebuild_gallery`
            always does.
        accept_loss: believe losses that were shown: those that the gallery holds when the change begins, or these.
    """

    batch_size: int | None = None
    commit_photos: int = 256
    commit_s: float = 15.0
    workers: int | None = None
    processes: int | None = None
    limits: ImageLimits = field(default_factory=ImageLimits)
    strict: bool = False
    check_contents: bool = False
    wait_s: float = 0.0
    moved: bool = False
    on_passed_over: Report | None = None
    most_lost: float = 50.0
    accept_loss: bool | tuple[Held, ...] = False
    engine: EncodingEngine | None = None

    @property
    def readers(self) -> int:
        """Threads that decode."""
        return self.workers if self.workers is not None else default_workers()

    def readers_of(self, folders: PhotoFolders) -> int:
        """Threads that decode photos of these folders."""
        return max(self.readers, _WORKERS_OF_A_BUCKET) if folders.in_buckets and self.workers != 0 else self.readers

    def batch_for(self, device: torch.device) -> int:
        """Photos that a network on this device encodes at once."""
        return self.batch_size or (GPU_BATCH if device.type == "cuda" else BATCH)

    def processes_for(self, photos: int) -> int:
        """Processes that decode where so many photos are to be read; 0 for threads alone."""
        if self.processes is None:
            pays = self.readers >= _FEWEST_WORKERS and photos >= _FEWEST_PHOTOS
            return self.readers if pays else 0
        return min(self.processes, self.readers)


def default_workers() -> int:
    """One decoding thread per core that this process may use, at most 16."""
    return min(_MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
