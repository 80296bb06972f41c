"""Whether a folder lies on a share, whose changes by other machines the system does not announce."""

from __future__ import annotations

import os
from pathlib import Path

from index_builder.comparing.mounts import MOUNTS, mounts

_SHARES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "9p", "virtiofs", "fakeowner")
)


def share_kind(folder: Path, listed: Path = MOUNTS) -> str | None:
    """The kind of share that a folder lies on, such as "cifs" or "fuse.sshfs"; None for a disk or if unknown."""
    place, best, kind = os.path.realpath(folder) + os.sep, "", ""
    for mount in mounts(listed):
        mounted = mount.place.rstrip(os.sep) + os.sep
        if place.startswith(mounted) and len(mounted) >= len(best):
            best, kind = mounted, mount.kind
    return kind if kind in _SHARES or kind.startswith("fuse.") else None
