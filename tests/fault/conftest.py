"""Processes that can be killed, and the gallery that an undisturbed run makes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from index_builder import GallerySnapshot, verify_gallery
from tests.fault import jobs
from tests.forked import fork_context


@dataclass(frozen=True)
class Outcome:
    """What became of a process: its last word (None if it was killed first), and the seconds from "begins"."""

    word: str | None
    seconds: float


class Runner:
    """Runs jobs in processes of their own."""

    def __init__(self) -> None:
        self._context = fork_context()

    def run(
        self,
        job: str,
        root: Path,
        gallery: Path | str,
        *,
        kill_after_s: float | None = None,
        hand_kill_to: Callable[[Callable[[], None]], None] | None = None,
        file_limit: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a job; send SIGKILL `kill_after_s` after it began, or whenever `hand_kill_to` is told to."""
        here, there = self._context.Pipe(duplex=False)
        more = {"file_limit": file_limit, "environment": environment}
        process = self._context.Process(target=jobs.run, args=(job, root, gallery, there), kwargs=more)
        process.start()
        there.close()
        try:
            assert here.recv() == "begins"
            began = time.monotonic()
            if hand_kill_to is not None:
                hand_kill_to(process.kill)
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                process.kill()  # SIGKILL; nothing if it is done already
            process.join(240)  # a busy machine may take its time
            assert process.exitcode is not None
            killed = kill_after_s is not None or hand_kill_to is not None
            assert process.exitcode in ((0, -signal.SIGKILL) if killed else (0,))
            try:
                word = here.recv() if here.poll() else None
            except EOFError:
                word = None
            return Outcome(word, time.monotonic() - began)
        finally:
            here.close()
            process.join()
            process.close()


@pytest.fixture(scope="session")
def runner():
    return Runner()


def contents(gallery, identity) -> dict[str, tuple[bytes, np.ndarray, np.ndarray]]:
    """Photo id -> path, descriptor, tokens."""
    snapshot = GallerySnapshot.load(gallery, identity)
    rows = range(len(snapshot))
    encoding, descriptors = snapshot.encodings(rows), snapshot.descriptors(rows)
    return {
        record.photo_id: (record.raw_path, descriptors[row], encoding.tokens[row].numpy())
        for row, record in enumerate(map(snapshot.photo, rows))
    }


def assert_part_of(actual, *expected) -> None:
    """Every photo is whole: path and encoding are those of an undisturbed run, before or after it."""
    assert len({path for path, _, _ in actual.values()}) == len(actual)
    for photo, (path, descriptor, tokens) in actual.items():
        known = [contents[photo] for contents in expected if photo in contents]
        assert path in [one[0] for one in known]
        np.testing.assert_allclose(descriptor, known[0][1], atol=1e-5)
        np.testing.assert_allclose(tokens, known[0][2], atol=1.1 * np.abs(tokens).max() / 127)


def assert_whole(gallery) -> None:
    report = verify_gallery(gallery, sample=0)
    damaged = [problem for problem in report.problems if not problem.where.startswith("recall/")]
    assert not damaged, damaged
