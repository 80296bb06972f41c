"""Builds on a Ray cluster: chunks of files go through two stages, and what a lost worker had in hand goes again."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from index_builder.comparing.files_to_read import FileToRead
from index_builder.distributed.cluster import ClusterError, connected, own_warnings_ignored
from index_builder.distributed.stages import Encoding, Reading, received, sent
from index_builder.ingest.build_options import BATCH, GPU_BATCH
from index_builder.ingest.decode import failed
from index_builder.ingest.encoding_engine import EncodedElsewhere, EncodingTask
from model.errors import SketchseekError

if TYPE_CHECKING:
    from model.networks.network import Network

Chunks = dict[int, list[FileToRead]]

_CHUNKS_AT_ONCE = 1000
"""Of one run of the stages. The encoders of a run end with it, and so do those that wait for a device that is lost."""
_DECODER_CPUS = 0.5
_ENCODER_CPUS = 0.1
"""So small that encoders never hold all CPUs of a machine, also where those of a lost machine come to it."""
_CPUS_OF_ENCODER = 4  # that one encoder uses where there is no GPU


@dataclass(frozen=True)
class Machines:
    """What a cluster has, and how the stages share it.

    Attributes:
        encoders: how many there are.
        gpus: of each encoder, 1 or 0.
        threads: of torch, of each encoder.
        decoders: how many files may be decoded at the same time.
    """

    encoders: int
    gpus: int
    threads: int
    decoders: int

    @classmethod
    def of(cls, nodes: Sequence[dict[str, Any]]) -> Machines:
        """What the nodes have that Ray lists.

        Raises:
            ClusterError: no node has a CPU for Ray.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        with_cpus = [node.get("CPU", 0.0) for node in alive if node.get("CPU", 0.0) >= _DECODER_CPUS + _ENCODER_CPUS]
        if not with_cpus:
            raise ClusterError("no machine of the Ray cluster has a CPU to work with; start one with `ray start`")
        cpus, gpus = sum(with_cpus), int(sum(node.get("GPU", 0.0) for node in alive))
        decoders = max(1, int(cpus / _DECODER_CPUS))
        if gpus:
            return cls(gpus, 1, 1, decoders)
        encoders = max(len(with_cpus), int(cpus) // _CPUS_OF_ENCODER)
        return cls(encoders, 0, max(1, int(cpus) // encoders), decoders)


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
            while chunks := dict(enumerate(_chunks(waiting, run.batch_size, _CHUNKS_AT_ONCE))):
                yield from _settled(run, chunks)


class _Run:
    """The stages, as often as they are run for one build."""

    def __init__(self, ray: Any, task: EncodingTask, device: str, dtype: str) -> None:
        self._ray, self._task = ray, task
        self._words = (device, dtype)
        gpus = Machines.of(ray.nodes()).gpus
        self.batch_size = task.batch_size or (GPU_BATCH if gpus else BATCH)
        self._known = ray.put(task.known)
        self._network = ray.put(_on_cpu(task.network))

    def results(self, chunks: Chunks) -> Iterator[tuple[int, EncodedElsewhere]]:
        """What becomes of chunks, in any order. One that a worker did not survive is missing."""
        data, task, (device, dtype) = self._ray.data, self._task, self._words
        machines = Machines.of(self._ray.nodes())  # some may be gone since the last run
        limits = task.limits
        reading = Reading(
            task.folders, limits, task.network.preprocess, limits.together.total // machines.decoders, self._known
        )
        rows = [{"chunk": number, "data": sent(files)} for number, files in chunks.items()]
        with own_warnings_ignored():
            dataset = (
                data.from_items(rows, override_num_blocks=len(rows))
                .map(reading, num_cpus=_DECODER_CPUS)
                .map(
                    Encoding,
                    fn_constructor_kwargs={
                        "network": self._network,
                        "device": device,
                        "dtype": dtype,
                        "threads": machines.threads,
                        "dataset": task.dataset,
                        "shape": task.shape,
                        "batch_size": self.batch_size,
                    },
                    num_cpus=_ENCODER_CPUS,
                    num_gpus=machines.gpus or None,
                    compute=data.ActorPoolStrategy(size=min(machines.encoders, len(rows))),
                )
            )
        try:
            for row in dataset.iter_rows():
                result = received(row["data"])
                if isinstance(result, SketchseekError):
                    raise result
                yield row["chunk"], result
        except SketchseekError:
            raise
        except (self._ray.exceptions.RayError, RuntimeError, OSError, TimeoutError) as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise ClusterError(
                f"the Ray cluster gave up ({type(error).__name__}: {said}); what was committed is whole, look at the "
                "cluster with `ray status` and run the same command again"
            ) from error


def _settled(run: _Run, chunks: Chunks) -> Iterator[EncodedElsewhere]:
    """What becomes of chunks. Those that are missing go again, at last file by file.

    Raises:
        ClusterError: nothing came back at all, so the files are not to blame.
    """
    came = False
    for alone in (False, False, True):
        if alone:
            chunks = {number: [file] for number, file in enumerate(file for files in chunks.values() for file in files)}
        if not chunks:
            return
        for number, result in run.results(chunks):
            if chunks.pop(number, None) is not None:  # a chunk may be done twice; the second time it is a leftover
                came = True
                yield result
    if not came:
        raise ClusterError(
            "every worker of the Ray cluster was lost; its logs say why, for example too little memory or another "
            "release of Sketchseek there. What was committed is whole: mend the cluster and run the same command again"
        )
    for (file,) in chunks.values():
        yield EncodedElsewhere([failed(file, "each worker that decoded it was lost", unknown=True)])


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
