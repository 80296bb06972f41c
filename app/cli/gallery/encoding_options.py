"""The options that every command which encodes photos shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.limit_options import LimitOptions
from app.cli.option_groups import with_options
from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
)

if TYPE_CHECKING:
    from index_builder.ingest.build_options import BuildOptions
    from model.networks.network import Network

DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", envvar="SKETCHSEEK_DTYPE")]
BatchOption = Annotated[
    int | None, typer.Option(min=1, help="Photos encoded at once; default: 32 on a CPU, 256 on a GPU.")
]
CommitOption = Annotated[int, typer.Option("--commit", min=1, help="Photos per commit.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Threads that decode; default: one per core.")]
ProcessesOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that decode for the threads; default: one each for 1000 photos and 4 threads."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="A file with something wrong is an error.")]
ListOption = Annotated[
    Path | None,
    typer.Option("--list-skipped", help="Write every skipped or excluded file to this file, as JSON lines."),
]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another writer.")]


@dataclass(frozen=True)
class EncodingOptions(LimitOptions):
    """The values of these options. Each field is one option, with its help and its default."""

    gallery: GalleryOption = DEFAULT_GALLERY
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    batch_size: BatchOption = None
    commit: CommitOption = 256
    workers: WorkersOption = None
    processes: ProcessesOption = None
    strict: StrictOption = False
    list_skipped: ListOption = None
    wait: WaitOption = 0.0
    as_json: JsonOption = False

    def build_options(self, **chosen: Any) -> BuildOptions:
        """How to build; `chosen` are fields of `BuildOptions` that only some commands offer."""
        from index_builder.ingest.build_options import BuildOptions

        return BuildOptions(
            batch_size=self.batch_size,
            commit_photos=self.commit,
            workers=self.workers,
            processes=self.processes,
            limits=self.limits(),
            strict=self.strict,
            wait_s=self.wait,
            **chosen,
        )

    def network(self) -> Network:
        """The network that encodes."""
        return load_network(self.checkpoint, self.device, self.dtype)


def with_encoding_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of `EncodingOptions`; it gets them as its argument `encoding`."""
    return with_options(EncodingOptions, "encoding")(command)


def load_network(checkpoint: str, device: str, dtype: str) -> Network:
    """The network of a checkpoint, with threads that sleep while they wait."""
    # OpenMP reads this when it starts: threads that spin while they wait take the cores from those that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from model.checkpoints.files import load_checkpoint

    return load_checkpoint(checkpoint, device, dtype)
