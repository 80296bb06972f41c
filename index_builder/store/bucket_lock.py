"""The one writer of a gallery in a bucket: an object that names it, renewed for as long as it lives.

A bucket has no locks that end with their holder. So the holder writes until when it holds, and renews that. Whoever
finds the time passed takes over, by a write that only one of several can do. The earlier holder may merely have slept.
It cannot harm: the one who takes over *fences* the dataset (`index_builder.store.opening_writer`), and the lists
beside it are replaced only by whoever has read them last.

Clocks decide only when somebody takes over, not whether that is safe.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from index_builder.gallery_errors import GalleryBusyError, GalleryWriteError
from index_builder.object_storage.bucket_path import BucketPath, Seen
from index_builder.object_storage.stores import StaleObjectError

HOLD_S = 60.0
"""Seconds for which a holder holds without renewing."""
_RENEW = 4  # times in that time
_LOOK_S = 1.0  # between looks of one who waits
_PASSED = 1.0  # a time that has passed by every clock


@dataclass(frozen=True)
class _Note:
    """What the object says.

    Attributes:
        holder: who has the lock, or had it last.
        until: when that ends, in seconds since 1970. 0 says that it was given back, and that no earlier holder can
            commit any more. A time that has passed says neither: whoever takes over must fence.
    """

    holder: str
    until: float

    @staticmethod
    def read(content: bytes) -> _Note:
        """What was written. One that nobody can read has run out."""
        try:
            values = json.loads(content)
            return _Note(str(values["holder"]), float(values["until"]))
        except (ValueError, KeyError, TypeError):
            return _Note("", _PASSED)

    def written(self) -> bytes:
        return json.dumps({"holder": self.holder, "until": self.until}).encode()


def _now() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class BucketLock:
    """The lock while it is held.

    Attributes:
        taken_over: whether an earlier holder may believe that it holds it still. The lock says so to whoever has it
            next as well, until `fenced` was called.
    """

    def __init__(self, place: BucketPath, holder: str, seen: Seen, *, taken_over: bool) -> None:
        self.taken_over = taken_over
        self._place, self._holder, self._seen = place, holder, seen
        self._until = _now() + HOLD_S
        self._is_fenced = not taken_over
        self._ends = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, name="gallery lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Whether it is still held.

        Raises:
            GalleryBusyError: it ran out, or somebody else has it now.
        """
        if self._lost or _now() > self._until:
            raise GalleryBusyError(
                "this command lost its lock on the gallery, because it or the object storage stood still too long; "
                "what was committed is whole, run the same command again"
            )

    def fenced(self) -> None:
        """No earlier holder can commit any more."""
        self._is_fenced = True

    def give_back(self) -> None:
        """End it. Somebody who has taken over meanwhile keeps it."""
        self._ends.set()
        self._thread.join()
        if not self._lost:
            try:
                until = 0.0 if self._is_fenced else _PASSED
                self._place.write(_Note(self._holder, until).written(), replaces=self._seen)
            except OSError:
                return  # it runs out by itself

    def _renew(self) -> None:
        while not self._ends.wait(HOLD_S / _RENEW):
            asked = _now()
            try:
                note = _Note(self._holder, time.time() + HOLD_S)
                self._seen = self._place.write(note.written(), replaces=self._seen)
                self._until = asked + HOLD_S
            except StaleObjectError:
                # A write may arrive although no attempt was answered. Then the note is ours, and was seen by nobody.
                if not self._is_ours():
                    self._lost = True
                    return
            except OSError:
                continue  # it is tried again, until the time has passed

    def _is_ours(self) -> bool:
        try:
            content, seen = self._place.read_seen()
        except OSError:
            return True  # nobody knows yet
        if _Note.read(content).holder != self._holder:
            return False
        self._seen = seen
        return True


@contextmanager
def bucket_lock(place: BucketPath, wait_s: float) -> Iterator[BucketLock]:
    """Hold the lock that lies at `place`.

    Args:
        place: of the object.
        wait_s: seconds to wait for another holder.

    Raises:
        GalleryBusyError: somebody else still had it after `wait_s`.
        GalleryWriteError: the bucket cannot be written to.
    """
    holder = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    until = time.monotonic() + wait_s
    try:
        while (lock := _taken(place, holder)) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise GalleryBusyError(
                    f"another command is writing to the gallery {place.root}/{place.key.rpartition('/')[0]}; try again "
                    f"when it is done, or wait with --wait (one that was killed holds it for {HOLD_S:g} s)"
                )
            time.sleep(min(_LOOK_S, left))
    except OSError as error:
        raise GalleryWriteError(f"cannot write to {place}: {error.strerror}") from error
    try:
        yield lock
    finally:
        lock.give_back()


def _taken(place: BucketPath, holder: str) -> BucketLock | None:
    """The lock, if nobody else holds it now."""
    replaces: Seen | Literal["nothing"]
    try:
        content, replaces = place.read_seen()
        before = _Note.read(content)
    except FileNotFoundError:
        before, replaces = _Note("", _PASSED), "nothing"  # somebody may have removed it while it was held
    if before.until > time.time():
        return None
    try:
        seen = place.write(_Note(holder, time.time() + HOLD_S).written(), replaces=replaces)
    except StaleObjectError:
        return None  # another one was faster
    return BucketLock(place, holder, seen, taken_over=before.until > 0)
