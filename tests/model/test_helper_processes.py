"""Helper processes: what they answer, and that they end, are replaced, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.helper_processes import HelperLostError, HelperProcesses
from tests.paths import ROOT

TASK = "tests.model.helper_tasks:worker"


@pytest.fixture(scope="module")
def helpers():
    with HelperProcesses(2, TASK, 10, patience_s=60) as helpers:
        yield helpers


def gone(pid, seconds=10.0):
    """Whether a process has ended; one that nobody waited for counts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_several_threads_are_answered_by_their_own_processes(helpers):
    arrays = [np.full((64, 1024), number, dtype=np.int32) for number in range(8)]  # more than a pipe holds
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda array: helpers.ask(("add", array)), arrays))
    for array, answer in zip(arrays, answers, strict=True):
        assert np.array_equal(answer["sum"], array + 10)
        answer["sum"][0] = 0  # the memory is the caller's
    pids = {answer["pid"] for answer in answers}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_what_is_printed_does_not_get_among_the_answers(helpers):
    values, _, heavy = helpers.ask(("print", "a warning of some decoder"))
    assert values.tolist() == [0, 1, 2]
    assert heavy == [], "a helper imports what its task needs, and no more"


def test_errors_are_raised_and_leave_the_process_as_it_is():
    with HelperProcesses(1, TASK, 0, patience_s=60) as alone:
        pid = alone.ask(("pid", None))[1]
        with pytest.raises(ValueError, match="not so"):
            alone.ask(("raise", "not so"))
        with pytest.raises(RuntimeError, match="OddError: too odd"):
            alone.ask(("raise odd", None))
        with pytest.raises(Exception, match="pickle"):
            alone.ask(("lambda", None))
        with pytest.raises(Exception, match="pickle"):
            alone.ask(("add", lambda: None))
        assert alone.ask(("pid", None))[1] == pid
    assert gone(pid)
    with pytest.raises(HelperLostError, match="told to end"):
        alone.ask(("pid", None))
    with (
        HelperProcesses(1, "tests.model.helper_tasks:cannot_begin", patience_s=60) as never,
        pytest.raises(ImportError, match="library is missing"),
    ):
        never.ask(None)


def test_one_that_dies_is_killed_or_is_stuck_is_replaced():
    with HelperProcesses(1, TASK, 0, patience_s=1) as alone:
        first = alone.ask(("pid", None))[1]
        with pytest.raises(HelperLostError):
            alone.ask(("die", None))
        second = alone.ask(("pid", None))[1]
        os.kill(second, signal.SIGKILL)
        assert gone(second)
        third = alone.ask(("pid", None))[1]  # it was idle, so nothing is lost
        started = time.monotonic()
        with pytest.raises(HelperLostError):
            alone.ask(("sleep", 60))
        assert time.monotonic() - started < 20
        assert gone(third)
        assert len({first, second, third, alone.ask(("pid", None))[1]}) == 4


def test_helpers_end_with_a_parent_that_is_killed():
    script = f"""
import threading
from model.helper_processes import HelperProcesses
busy, idle = (HelperProcesses(1, {TASK!r}, 0, patience_s=600) for _ in range(2))
print(busy.ask(("pid", None))[1], idle.ask(("pid", None))[1], flush=True)
busy.ask(("sleep", 600))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert not any(gone(pid, 0.2) for pid in pids)
        parent.kill()
    assert all(gone(pid) for pid in pids)
