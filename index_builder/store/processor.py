"""What Lance asks of the processor. Its wheels for x86-64 are compiled for one from 2013 or later.

On an older one, or in a virtual machine that hides these instructions, the process would die with "Illegal instruction"
and nothing else.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from index_builder.gallery_errors import GalleryError

_NEEDED = ("avx2", "fma")
_CPUINFO = Path("/proc/cpuinfo")


class ProcessorError(GalleryError):
    """The processor lacks instructions that Lance is compiled for."""

    code = "processor_too_old"


def missing_instructions() -> list[str]:
    """What this machine's processor lacks; empty where the system does not tell, or for other kinds of processor."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    try:
        with _CPUINFO.open(encoding="ascii", errors="replace") as lines:
            flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    except OSError:
        return []
    return [] if flags is None else [name for name in _NEEDED if name not in flags]


@cache
def check_processor() -> None:
    """Call this before anything imports Lance.

    Raises:
        ProcessorError: the process would die.
    """
    missing = missing_instructions()
    if missing:
        raise ProcessorError(
            f"this processor has no {' and no '.join(name.upper() for name in missing)}, which galleries need "
            "(Lance is compiled for it); take an x86-64 machine from 2013 or later, or an ARM one. A virtual machine "
            "has to show the processor as it is (QEMU and Proxmox: CPU type `host`)"
        )
