"""Builds on a Ray cluster: chunks of files go through two stages, and what a lost worker had in hand goes again."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from index_builder.comparing.files_to_read import FileToRead
from index_builder.distributed import arrival
from index_builder.distributed.cluster import (
    ClusterError,
    advice_ignored,
    cluster_errors,
    connected,
    own_warnings_ignored,
)
from index_builder.distributed.fitness import fingerprint, seen_here
from index_builder.distributed.machines import DECODER_CPUS, ENCODER_CPUS, Machines
from index_builder.distributed.messages import received, sent
from index_builder.distributed.stages import ChunkDone, Reading
from index_builder.ingest.build_options import BATCH, GPU_BATCH
from index_builder.ingest.decode import DecodedPhoto, Failed, failed, read_photo
from index_builder.ingest.encoding_engine import EncodedElsewhere, EncodingTask

if TYPE_CHECKING:
    from model.networks.network import Network

Chunks = dict[int, Sequence[FileToRead | DecodedPhoto]]
"""Files to read, or photos that this machine has decoded."""
Read = DecodedPhoto | Failed
AtOnce = Literal["all", "machines", "one"]
_ALL_IN_TURN: tuple[AtOnce, ...] = ("all", "all", "machines", "one")

_CHUNKS_AT_ONCE = 1000
"""Of one run of the stages. The encoders of a run end with it, and so do those that wait for a device that is lost."""
_MOST_READ_HERE = 32
"""Files that workers cannot read and this machine can, before the cluster is to blame and no moment's fault."""
_RETRIES = 2
"""Of a task whose worker is lost, within one run of the stages."""
_FEW_CHUNKS = 3
"""That one file each may be to blame for. Where more are lost twice and nothing comes back, the cluster is."""


class RayEngine:
    """Reads and encodes photos on a Ray cluster, see `EncodingEngine`.

    The photos' folders and the gallery must lie where every machine of the cluster finds them at the same place.

    Args:
        address: of the cluster, see `connected`.
        device, dtype: of the network on the workers, as of `load_checkpoint`.
    """

    def __init__(self, address: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        self._address, self._device, self._dtype = address, device, dtype

    def encode(self, jobs: Iterable[FileToRead], task: EncodingTask) -> Generator[EncodedElsewhere, None, None]:
        """See `EncodingEngine.encode`.

        Raises:
            ClusterError: the cluster cannot be used, or it gave up.
            GalleryError: what no photo is to blame for.
        """
        source = iter(jobs)
        first = next(source, None)
        if first is None:
            return
        with connected(self._address) as ray:
            run = _Run(ray, task, self._device, self._dtype)
            waiting: Iterator[FileToRead] = _chained(first, source)
            while chunks := list(_chunks(waiting, run.batch_size, _CHUNKS_AT_ONCE)):
                yield from _settled(run, dict(enumerate(chunks)))


class _Run:
    """The stages, as often as they are run for one build."""

    def __init__(self, ray: Any, task: EncodingTask, device: str, dtype: str) -> None:
        self._ray, self._task = ray, task
        self._words = {"device": device, "dtype": dtype}
        self._seen = seen_here(task.folders)
        ray.cloudpickle.register_pickle_by_value(arrival)
        with cluster_errors():
            gpus = Machines.of(ray.nodes()).gpus
            self.batch_size = task.batch_size or (GPU_BATCH if gpus else BATCH)
            self._known = ray.put(task.known)
            self._network = ray.put(_on_cpu(task.network))

    def results(self, chunks: Chunks, at_once: AtOnce = "all") -> Iterator[tuple[int, ChunkDone]]:
        """What becomes of chunks, in any order. One that a worker did not survive is missing.

        Args:
            chunks: of files.
            at_once: how many of them are decoded at the same time: as many as CPUs can, as there are machines, or one.

        Raises:
            ClusterError: the cluster gave up, or a machine of it cannot do the work.
        """
        data, task = self._ray.data, self._task
        rows = [{"chunk": number, "data": sent(files), "failed": "", "node": ""} for number, files in chunks.items()]
        with cluster_errors(), own_warnings_ignored():
            machines = Machines.of(self._ray.nodes())  # some may be gone since the last run
            reading = Reading(task.folders, task.limits, self._seen, task.network.preprocess)
            most = {"all": None, "machines": machines.count, "one": 1}[at_once]
            options = {
                "threads": machines.threads,
                "dataset": task.dataset,
                "shape": task.shape,
                "batch_size": self.batch_size,
                **self._words,
            }
            dataset = (
                data.from_items(rows, override_num_blocks=len(rows))
                .map(
                    arrival.ReadingThere(fingerprint(), sent(reading), self._known),
                    num_cpus=DECODER_CPUS,
                    compute=data.TaskPoolStrategy(size=most),
                    max_retries=_RETRIES,  # Ray Data would repeat what kills its worker for ever
                )
                .map(
                    arrival.EncodingThere,
                    fn_constructor_kwargs={
                        "fingerprint": fingerprint(),
                        "options": sent(options),
                        "network": self._network,
                    },
                    num_cpus=ENCODER_CPUS,
                    num_gpus=machines.gpus or None,
                    compute=data.ActorPoolStrategy(size=min(machines.encoders, len(rows))),
                )
            )
        with cluster_errors(), advice_ignored():
            for row in dataset.iter_rows():
                if row["failed"]:
                    raise ClusterError(f"the machine {row['node']} of the Ray cluster: {row['failed']}")
                yield row["chunk"], received(row["data"])

    def read_here(self, file: FileToRead) -> DecodedPhoto | Failed:
        """What this machine makes of a file that another one could not read."""
        task = self._task
        return read_photo(task.folders, file, task.network.preprocess, task.limits, task.known.has)


def _settled(run: _Run, chunks: Chunks) -> Iterator[EncodedElsewhere]:
    """What becomes of chunks. Those that are missing go again, at last file by file.

    A worker may be lost because of what others did at the same time, for example for want of memory. So only a file
    that was decoded alone is to blame.

    Files that a worker could not read are asked for here. What can be read here goes to the workers decoded.

    Raises:
        ClusterError: nothing came back at all, so the files are not to blame; or a machine of the cluster cannot read
            what this one reads.
    """
    came, decoded = False, list[DecodedPhoto]()
    for at_once in _ALL_IN_TURN:
        if at_once == "machines" and not came and len(chunks) > _FEW_CHUNKS:
            break
        if at_once != "all":
            chunks = {number: [file] for number, file in enumerate(file for files in chunks.values() for file in files)}
        if not chunks:
            break
        for number, done in run.results(chunks, at_once):
            files = chunks.pop(number, None)
            if files is not None:  # a chunk may be done twice; the second time it is a leftover
                came = True
                result = done.result
                here = _read_here(run, files, done, len(decoded))
                decoded += (one for one in here if _has_pixels(one))
                result.passed_over.extend(one for one in here if not _has_pixels(one))
                yield result
    if chunks and not came:
        raise ClusterError(
            "every worker of the Ray cluster was lost; its logs say why, for example too little memory. What was "
            "committed is whole: mend the cluster and run the same command again"
        )
    for (file,) in chunks.values():
        path = file.raw_path
        yield EncodedElsewhere([failed(FileToRead(path), "each worker that decoded it was lost", unknown=True)])
    if decoded:
        yield from _settled(run, {0: decoded})


def _read_here(run: _Run, files: Sequence[FileToRead | DecodedPhoto], done: ChunkDone, before: int) -> list[Read]:
    """What becomes here of files that a worker could not read.

    Args:
        before: how many of them could be read here so far.
    """
    if not done.unread:
        return []
    named = {file.raw_path: file for file in files if isinstance(file, FileToRead)}
    found = list[Read]()
    for unread in done.unread:
        found.append(run.read_here(named[unread.raw_path]))
        if before + sum(map(_has_pixels, found)) > _MOST_READ_HERE:
            raise ClusterError(
                f"the machine {done.node} of the Ray cluster cannot read {unread.skipped.path} "
                f"({unread.skipped.reason}), and others that this machine reads; give every machine the same folders. "
                "What was committed is whole: run the same command again"
            )
    return found


def _has_pixels(one: Read) -> TypeGuard[DecodedPhoto]:
    return isinstance(one, DecodedPhoto) and one.pixels is not None


def _chunks(files: Iterator[FileToRead], size: int, most: int) -> Iterator[list[FileToRead]]:
    """At most so many chunks of files."""
    for _ in range(most):
        if not (chunk := list(islice(files, size))):
            return
        yield chunk


def _chained(first: FileToRead, others: Iterator[FileToRead]) -> Iterator[FileToRead]:
    yield first
    yield from others


def _on_cpu(network: Network) -> Network:
    """The network, or a copy of it in the memory that every machine has."""
    return network if network.device.type == "cpu" else copy.deepcopy(network).cast("cpu", network.dtype)
