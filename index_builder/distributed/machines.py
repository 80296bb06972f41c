"""What the machines of a Ray cluster have, and how the stages share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from index_builder.distributed.cluster import ClusterError

DECODER_CPUS = 0.5
ENCODER_CPUS = 0.1
"""So small that encoders never hold all CPUs of a machine, also where those of a lost machine come to it."""
_CPUS_OF_ENCODER = 4  # that one encoder uses where there is no GPU


@dataclass(frozen=True)
class Machines:
    """What a cluster has, and how the stages share it.

    Attributes:
        encoders: how many there are.
        gpus: of each encoder, 1 or 0.
        threads: of torch, of each encoder.
        count: of machines that decode.
    """

    encoders: int
    gpus: int
    threads: int
    count: int

    @classmethod
    def of(cls, nodes: Sequence[dict[str, Any]]) -> Machines:
        """What the nodes have that Ray lists.

        Raises:
            ClusterError: no node has a CPU for Ray.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        with_cpus = [node.get("CPU", 0.0) for node in alive if node.get("CPU", 0.0) >= DECODER_CPUS + ENCODER_CPUS]
        if not with_cpus:
            raise ClusterError("no machine of the Ray cluster has a CPU to work with; start one with `ray start`")
        cpus, gpus = sum(with_cpus), int(sum(node.get("GPU", 0.0) for node in alive))
        if gpus:
            return cls(gpus, 1, 1, len(with_cpus))
        encoders = max(len(with_cpus), int(cpus) // _CPUS_OF_ENCODER)
        return cls(encoders, 0, max(1, int(cpus) // encoders), len(with_cpus))
