"""Whether a folder lies on a share, whose changes by other machines the system does not announce."""

from __future__ import annotations

import os
from pathlib import Path

_SHARES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "9p", "virtiofs", "fakeowner")
)
_MOUNTS = Path("/proc/self/mountinfo")


def share_kind(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of share that a folder lies on, such as "cifs" or "fuse.sshfs"; None for a disk or if unknown."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, best, kind = os.path.realpath(folder) + os.sep, "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) < 5:
            continue
        # The system writes blanks and the like as \040.
        mounted = fields[4].encode(errors="surrogateescape").decode("unicode_escape").rstrip(os.sep) + os.sep
        if place.startswith(mounted) and len(mounted) >= len(best):
            best, kind = mounted, types[0]
    return kind if kind in _SHARES or kind.startswith("fuse.") else None
