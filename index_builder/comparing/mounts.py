"""What is mounted where, as far as the system says: on Linux, `/proc/self/mountinfo`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """Something that is mounted.

    Attributes:
        place: absolute path that it is mounted at.
        kind: of its file system, such as "ext4" or "cifs".
    """

    place: str
    kind: str


def mounts(listed: Path = MOUNTS) -> list[Mount]:
    """Everything mounted that this process sees, in the order of mounting; nothing where the system does not list it.

    Args:
        listed: where the system lists it.
    """
    try:
        lines = listed.read_bytes().splitlines()
    except OSError:
        return []
    found = list[Mount]()
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields, types = before.split(b" "), after.split(b" ")
        if len(fields) > 4:
            found.append(Mount(os.fsdecode(_unescaped(fields[4])), os.fsdecode(types[0])))
    return found


def _unescaped(field: bytes) -> bytes:
    r"""The system writes blanks and the like as `\040`, and every other byte as it is."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
