"""What a worker unpacks first: the stages, wrapped so that they unpack anywhere and every error comes back as a result.

`ray_engine` sends this module by value. A worker with another release, or without an extra, thus says what is wrong
with it; Ray itself would only drop what the worker had in hand. So nothing of ours is imported outside of `_answered`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
"""`chunk`, a number; `data`, a message; `failed`, what went wrong instead, or ""; `node`, the machine that tells."""

_OTHER = "it runs another release of Sketchseek, or a part is missing; install the same on every machine of the cluster"


class ReadingThere:
    """The first stage.

    Args:
        fingerprint: of the sources that the driver runs, see `fitness.fingerprint`.
        stage: a `Reading`, as `sent` packs it.
        known: Ray's reference to a `ContentIndex`.
    """

    def __init__(self, fingerprint: str, stage: bytes, known: Any) -> None:
        self.fingerprint, self.stage, self.known = fingerprint, stage, known

    def __call__(self, row: Row) -> Row:
        """Files -> `ChunkRead`."""

        def read() -> bytes:
            import ray

            from index_builder.distributed.messages import received

            data: bytes = received(self.stage)(row["data"], ray.get(self.known))
            return data

        return _answered(row, self.fingerprint, read)


class EncodingThere:
    """The second stage, for as long as the build lasts.

    Args:
        fingerprint: as of `ReadingThere`.
        options: arguments of `Encoding` without its network, as `sent` packs them.
        network: Ray's reference to the network, on the CPU.
    """

    def __init__(self, *, fingerprint: str, options: bytes, network: Any) -> None:
        self.fingerprint = fingerprint
        self.stage: Any = None

        def prepare() -> bytes:
            import ray

            from index_builder.distributed.messages import received
            from index_builder.distributed.stages import Encoding

            self.stage = Encoding(network=ray.get(network), **received(options))
            return b""

        self.ready = _answered({"chunk": -1}, fingerprint, prepare)

    def __call__(self, row: Row) -> Row:
        """`ChunkRead` -> `ChunkDone`."""
        if row["failed"]:
            return row
        if self.stage is None:
            return {**self.ready, "chunk": row["chunk"]}
        return _answered(row, self.fingerprint, lambda: self.stage(row["data"]))


def _answered(row: Row, fingerprint: str, work: Callable[[], bytes]) -> Row:
    """The row with what `work` gives, or with what is wrong with this machine."""
    data, failed = b"", ""
    try:
        from index_builder.distributed import fitness

        if fitness.fingerprint() != fingerprint:
            failed = _OTHER
        else:
            try:
                data = work()
            except Exception as error:
                failed = fitness.told(error)
    except (ImportError, AttributeError) as error:
        failed = f"{_OTHER} ({error})"
    return {"chunk": row["chunk"], "data": data, "failed": failed, "node": socket.gethostname()}
