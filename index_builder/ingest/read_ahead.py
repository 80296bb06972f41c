"""Reads photos ahead of the network, in threads, and for many photos on many cores in a process beside each thread.

Pillow's decoders and scalers release Python's lock, so threads decode in parallel without copies between processes. On
many cores the lock is what everyone waits for, and a process for each thread pays. A process decodes what fits its
share of the memory for decoding. Everything else is for its thread, as without processes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import TypeVar

from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest.decode import DecodedPhoto, Failed, failed, read_photo
from index_builder.ingest.decoding_process import TASK
from index_builder.photo_folders import PhotoFolders
from model.config import PreprocessConfig
from model.helper_processes import HelperLostError, HelperProcesses, HelpersClosedError
from model.images.opening import ImageLimits

J = TypeVar("J")
T = TypeVar("T")

PATIENCE_S = 300.0
"""For one file, on a share that answers slowly."""

_SHARE = 4  # of the memory for decoding, lent to all processes together
_CHUNK = 8  # photos of one message
_LOST_AT_FIRST = 3  # files that crash before any file is read: not the files are to blame
_log = logging.getLogger(__name__)


class DecodingProcesses:
    """Reads photos in processes. Leaving it as a context manager ends them.

    Args:
        folders: where the files lie.
        preprocess: of the network.
        limits: of images. A quarter of the memory for decoding is lent to the processes.
        count: most processes, of which each starts when it is needed.
        patience_s: seconds that reading one file may take.
    """

    def __init__(
        self,
        folders: PhotoFolders,
        preprocess: PreprocessConfig,
        limits: ImageLimits,
        count: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._folders, self._preprocess, self._limits, self._patience_s = folders, preprocess, limits, patience_s
        lent = limits.together.total // _SHARE
        self._stack = ExitStack()
        self._stack.enter_context(limits.together.lend(lent))
        self._helpers = self._stack.enter_context(
            HelperProcesses(count, TASK, folders, preprocess, limits, lent // count, patience_s=patience_s)
        )
        self._usable, self._proved, self._crashed = True, False, 0
        self._lock = threading.Lock()

    def read_many(
        self, jobs: Sequence[FileToRead], is_known: Callable[[bytes], bool] | None = None
    ) -> list[DecodedPhoto | Failed]:
        """What `read_photo` gives for each of several files, from one process where it can."""
        if len(jobs) == 1:
            return [self._settled(jobs[0], self._alone(jobs[0]), is_known)]
        try:
            results = self._ask(jobs)
        except HelpersClosedError:
            raise
        except HelperLostError:  # one of these files may be what it died of
            results = [self._alone(job) for job in jobs]
        return [self._settled(job, result, is_known) for job, result in zip(jobs, results, strict=True)]

    def _settled(
        self, job: FileToRead, result: DecodedPhoto | Failed | None, is_known: Callable[[bytes], bool] | None
    ) -> DecodedPhoto | Failed:
        """The result of a process, or this thread's own where it must read the file, or need not decode it."""
        here = partial(read_photo, self._folders, job, self._preprocess, self._limits)
        if result is None:
            return here(is_known)
        if is_known is None or (isinstance(result, DecodedPhoto) and not is_known(result.content_hash)):
            return result
        known = here(lambda _: True)  # a content that is known needs no decoding, and no decoder that can
        return known if isinstance(known, DecodedPhoto) and is_known(known.content_hash) else result

    def _alone(self, job: FileToRead) -> DecodedPhoto | Failed | None:
        """What a process gives that has nothing else to do; it may be lost once without this file being the cause."""
        for last in (False, True):
            try:
                return self._ask([job])[0]
            except HelpersClosedError:
                raise
            except HelperLostError as error:
                if isinstance(error.__cause__, TimeoutError):
                    return failed(job, f"reading it took longer than {self._patience_s:.0f} seconds", unknown=True)
                if last and not self._none_works():
                    return failed(job, "decoding it crashed twice", unknown=True)
        return None

    def _ask(self, jobs: Sequence[FileToRead]) -> list[DecodedPhoto | Failed | None]:
        """What a process gives for files; None for each that a thread must read. Raises HelperLostError."""
        if self._usable:
            try:
                results: list[DecodedPhoto | Failed | None] = self._helpers.ask(jobs)
            except HelperLostError:
                raise
            except Exception as error:
                self._leave_to_threads(f"{type(error).__name__}: {error}")
            else:
                self._proved = True
                return results
        return [None] * len(jobs)

    def _none_works(self) -> bool:
        """Called for a file that crashed: whether several did so before a process has read anything at all."""
        with self._lock:
            self._crashed += 1
            none = not self._proved and self._crashed >= _LOST_AT_FIRST
        if none:
            self._leave_to_threads(f"the first {_LOST_AT_FIRST} files crashed")
        return none

    def _leave_to_threads(self, why: str) -> None:
        with self._lock:
            first, self._usable = self._usable, False
        if first:
            _log.warning("photos are decoded in threads: no process can (%s)", why)

    def give_up(self) -> None:
        """End all processes at once. Whoever waits for one gets HelpersClosedError."""
        self._helpers.close()

    def __enter__(self) -> DecodingProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def read_ahead(
    jobs: Iterable[J],
    read: Callable[[J], T],
    *,
    workers: int,
    ahead: int,
    give_up: Callable[[], None] = lambda: None,
) -> Iterator[T]:
    """The results of `read` for every job, in order, by so many threads.

    Never more than `ahead` results are in memory, however many jobs there are. `give_up` is called on an error, and on
    Ctrl-C: it should end what the threads wait for.
    """
    if workers < 1:
        yield from map(read, jobs)
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for job in jobs:
            waiting.append(pool.submit(read, job))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        give_up()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def read_ahead_in_chunks(
    jobs: Iterable[J],
    read_many: Callable[[Sequence[J]], list[T]],
    *,
    workers: int,
    ahead: int,
    give_up: Callable[[], None] = lambda: None,
) -> Iterator[T]:
    """What `read_ahead` gives, where one call reads several: fewer messages, fewer turns for Python's lock."""
    source = iter(jobs)
    chunks = iter(lambda: list(islice(source, _CHUNK)), [])
    most = workers + ahead // _CHUNK
    for results in read_ahead(chunks, read_many, workers=workers, ahead=most, give_up=give_up):
        yield from results
