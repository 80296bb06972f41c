"""When a file was modified, as the gallery keeps it. File systems may say any number; one function bounds it.

A gallery stores 64 bits of nanoseconds, which reach from 1677 to 2262. File systems go further: NTFS counts from 1601,
and a broken clock or a copying tool writes what it likes.
"""

from __future__ import annotations

import os

LATEST_NS = 2**63 - 1
EARLIEST_NS = -LATEST_NS

RACY_NS = 2_000_000_000
"""A file modified less than this before it was read may have changed again without its time telling; its content is
compared instead. Two seconds is the coarsest clock of a file system in use (FAT)."""
_AHEAD_NS = 24 * 3600 * 1_000_000_000
"""How far the clock of a share may be ahead of ours. A file that is dated later than that has a wrong date, which any
change would replace."""


def modified_ns(status: os.stat_result) -> int:
    """Modification time in nanoseconds since 1970; what cannot be stored becomes the nearest time that can."""
    return min(max(status.st_mtime_ns, EARLIEST_NS), LATEST_NS)


def may_hide_a_change(modified: int, read: int) -> bool:
    """Whether a file of this modification time may have changed after it was read without its time telling.

    Args:
        modified: of the file, in nanoseconds.
        read: when it was read, in nanoseconds.
    """
    return read - RACY_NS <= modified <= read + _AHEAD_NS
