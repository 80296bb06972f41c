"""Which kind of file system a path lies on, as Linux tells."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "ocfs2",
    "virtiofs", "davfs", "fuse.davfs2", "fuse.glusterfs", "fuse.grpcfuse", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
})  # fmt: skip


def network_file_system(path: Path) -> str | None:
    """The kind of network file system that `path` lies on, such as "nfs4"; None for a disk, or if nobody knows."""
    place = path.resolve()
    while not place.exists():
        place = place.parent
    kind = _kinds().get(next((str(one) for one in (place, *place.parents) if str(one) in _kinds()), ""), "")
    return kind if kind in _NETWORK else None


def _kinds() -> dict[str, str]:
    """Kind of file system by the folder it is mounted at; a later mount hides an earlier one at the same folder."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    kinds = {}
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if rest and len(parts := fields.split()) > 4:
            # Blanks and the like are written as a backslash and three octal digits.
            kinds[re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), parts[4])] = rest.split()[0]
    return kinds
