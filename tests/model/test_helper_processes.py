"""Helper processes: what they answer, and that they end, are replaced, and never outlive their parent."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.helper_processes import HelperLostError, HelperNeverBeganError, HelperProcesses, HelpersClosedError
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
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(FileNotFoundError):  # elsewhere than on Linux, none stays that nobody waited for
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


def test_several_threads_are_answered_by_their_own_processes(helpers):
    arrays = [np.full((256, 2048), number, dtype=np.int32) for number in range(8)]  # more than a pipe holds
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
        with pytest.raises(RuntimeError, match="UnreadableError: too odd"):
            alone.ask(("raise unreadable", None))
        with pytest.raises(Exception, match="pickle"):
            alone.ask(("lambda", None))
        with pytest.raises(Exception, match="pickle"):
            alone.ask(("add", lambda: None))
        assert alone.ask(("pid", None))[1] == pid
    assert gone(pid)
    with pytest.raises(HelperLostError, match="told to end"):
        alone.ask(("pid", None))


def never_begins(task, match, *arguments, seconds=60.0):
    """Asks one that cannot begin, and says what that was caused by."""
    with HelperProcesses(1, task, *arguments, patience_s=60) as never:
        with pytest.raises(HelperNeverBeganError, match=match) as caught:
            never.ask(None, time.monotonic() + seconds)
        assert not never._running
    return type(caught.value.__cause__)


def test_one_that_cannot_begin_is_no_fault_of_the_request(monkeypatch, tmp_path):
    assert never_begins("tests.model.helper_tasks:cannot_begin", "library is missing") is ImportError
    assert never_begins("tests.model.helper_tasks:begins_late", "not begin", 60, seconds=1.0) is TimeoutError
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert issubclass(never_begins(TASK, "not begin", 0), (EOFError, BrokenPipeError))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such python"))
    assert never_begins(TASK, "can be started", 0) is FileNotFoundError


def test_what_is_printed_before_it_begins_is_no_answer(monkeypatch, tmp_path, capfd):
    (tmp_path / "sitecustomize.py").write_text("print('hello from a site', flush=True)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with HelperProcesses(1, TASK, 1, patience_s=60) as alone:
        assert alone.ask(("add", 1), time.monotonic() + 60)["sum"] == 2
    out, err = capfd.readouterr()
    assert ("hello" in out, "hello" in err) == (False, True)


def test_ctrl_c_of_a_terminal_does_not_reach_helpers(helpers):
    assert os.getpgid(helpers.ask(("pid", None))[1]) != os.getpgid(0)


def test_nobody_waits_longer_than_until_for_a_free_process(helpers):
    taken = [helpers._idle.get() for _ in range(2)]
    try:
        with pytest.raises(TimeoutError, match="became free"):
            helpers.ask(("pid", None), time.monotonic() + 0.02)
    finally:
        for one in taken:
            helpers._idle.put(one)


@pytest.mark.parametrize(
    ("task", "argument", "request_", "timeout_s"),
    [(TASK, 0, ("sleep", 60), 0.3), ("tests.model.helper_tasks:begins_late", 60, None, 50.0)],
    ids=["at work", "not begun"],
)
def test_closing_kills_what_is_not_done_in_time(task, argument, request_, timeout_s):
    helpers = HelperProcesses(1, task, argument, patience_s=60)
    if request_ is not None:
        helpers.ask(("pid", None))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(helpers.ask, request_)
        while not any(one.at_work for one in helpers._running.copy()):
            time.sleep(0.01)
        (process,) = helpers._running
        started = time.monotonic()
        helpers.close(timeout_s)
        assert time.monotonic() - started < 10
        with pytest.raises(HelpersClosedError):
            asked.result(10)
    assert gone(process._process.pid)
    assert not helpers._running


def test_one_that_dies_is_killed_or_is_stuck_is_replaced():
    with HelperProcesses(1, TASK, 0, patience_s=1) as alone:
        first = alone.ask(("pid", None))[1]
        with pytest.raises(HelperLostError):
            alone.ask(("die", None))
        second = alone.ask(("pid", None))[1]
        os.kill(second, signal.SIGKILL)
        (killed,) = alone._running
        killed._process.wait(10)  # the first of its threads may be gone before the others, which still hold the pipes
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
