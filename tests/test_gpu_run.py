"""`python -m benchmarks.gpu`: each part works on the CPU, and a part that goes wrong leaves the others alone."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.main import create_app
from tests.app.conftest import settings_for
from tests.app.live import live
from tests.paths import ROOT

FOLDER = ROOT / "benchmarks"
SOME_TESTS = """
import pytest

def test_passes(): pass

def test_fails(): assert not "this"

@pytest.mark.gpu
def test_of_a_device(): pass

@pytest.mark.parametrize("place", ["cpu"])
def test_skips(place): pytest.skip("it says why")
"""


@pytest.fixture
def script(monkeypatch):
    """A script or package of the folder as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def runs(script):
    """The package's modules."""
    script("gpu")
    return {name: script(f"gpu.{name}") for name in ("__main__", "parts", "lines", "running")}


@pytest.fixture
def here(script, runs, monkeypatch, tmp_path):
    """Runs a part in this process, which has imported everything already."""
    threads = torch.get_num_threads()

    def execute(command, log, _seconds):
        if command[1] == "-m":  # pytest itself, of tests that need no torch
            (tmp_path / "test_some.py").write_text(SOME_TESTS)
            # Python itself may lie in the project's folder as well.
            rest = [str(tmp_path / "test_some.py") if one.startswith(str(ROOT)) else one for one in command[1:]]
            given = [command[0], *rest]
            with log.open("w") as file:
                subprocess.run(given, stdout=file, stderr=file, check=False)
            return runs["running"].Outcome(0, 0.1)
        with log.open("w") as file, contextlib.redirect_stdout(file), monkeypatch.context() as patch:
            patch.setattr(sys, "argv", list(command[1:]))
            try:
                script(Path(command[1]).stem).main()
            except SystemExit as ended:
                return runs["running"].Outcome(ended.code, 0.1)
        return runs["running"].Outcome(0, 0.1)

    @contextlib.contextmanager
    def side_by_side(count, gallery, *, checkpoint, device, settings):
        del settings
        app_settings = settings_for(gallery, checkpoint=checkpoint, device=device)
        with live(create_app(app_settings), app_settings) as port:
            yield [script("services").Served(port, os.getpid(), 1.0)] * count

    monkeypatch.setattr(script("serve"), "serving_side_by_side", side_by_side)
    monkeypatch.setattr(script("measure"), "_SIDE", 64)  # rates as well need not take long
    monkeypatch.setattr(script("measure"), "_READ", 2**20)
    yield execute
    torch.set_num_threads(threads)


def test_every_part_measures_something_and_says_how_far_it_is_from_its_floor(runs, here, tmp_path, capsys):
    written = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--size", "least", "--json", str(written)]
    assert runs["__main__"].main(given, here) == 0, capsys.readouterr().out
    document = json.loads(written.read_text())
    assert [one["outcome"] for one in document["parts"].values()] == ["done"] * len(runs["parts"].PARTS)
    measured = {row["part"] for row in document["rows"]}
    assert measured == {part.name for part in runs["parts"].PARTS} - {"made"}
    floors = {row["part"] for row in document["rows"] if row["of_floor"]}
    assert floors == {"encode", "relate", "relate8", "serve", "serve4", "build", "recall"}
    assert document["machine"]["cores"] >= 1
    table = capsys.readouterr().out.rpartition("| part | what |")[2]
    assert "| tests | tests/gpu | 1 failed, 1 passed, 1 skipped |" in table
    for words in (
        "matrix product, bfloat16",
        "IVF",
        "1 client",
        "2 clients",
        ": searches |",
        "2 clients of 2 services: searches",
        "photos per s",
    ):
        assert words in table, table


@pytest.mark.parametrize(
    ("value", "unit", "floor", "times"),
    [
        (6.0, "ms", 2.0, 3.0),
        (500.0, "photos per s", 2000.0, 4.0),
        (1.0, "ms", None, None),
        ("1 passed", "", None, None),
    ],
)
def test_how_far_it_is_from_the_floor(runs, value, unit, floor, times):
    assert runs["lines"].Line("a part", "a thing", value, unit, floor).of_floor == times


class Told:
    """A part that runs a line of Python. FOLDER stands for that of its files."""

    def __init__(self, name, line, seconds=60.0):
        self.name, self.line, self.seconds, self.writes = name, line, seconds, True

    def command(self, _device, _size, folder, _made):
        return [sys.executable, "-c", self.line.replace("FOLDER", repr(str(folder)))]


ROW = '{"rows": [{"what": "a rate", "rate": 2.5, "unit": "GB/s"}]}'
WRITES = f"import pathlib; pathlib.Path(FOLDER, 'floors.json').write_text('{ROW}')"


def test_a_part_that_fails_or_hangs_or_has_no_time_left_is_told_and_the_others_go_on(
    runs, tmp_path, monkeypatch, capsys
):
    main = runs["__main__"]
    hangs = f"{WRITES}; import time; time.sleep(60)"
    parts = [
        Told("floors", hangs, seconds=24),
        Told("encode", "raise ValueError('no weights')"),
        Told("relate", "print('fine')"),
    ]
    monkeypatch.setattr(main, "PARTS", parts)
    given = ["--minutes", "1", "--json", str(tmp_path / "gpu.json")]
    assert main.main(given) == 1
    said = capsys.readouterr().out
    assert "| floors | a rate | 2.5 | GB/s |" in said, "what it measured before it was ended stays"
    assert "floors: out of time after 3 s" in said
    assert "encode: failed (1): ValueError: no weights" in said
    assert "relate: done" in said
    monkeypatch.setattr(main, "_LEAST_S", 1e9)
    assert main.main(given) == 1
    assert "floors: not begun: no time left" in capsys.readouterr().out


def test_a_run_that_is_ended_tells_what_it_measured(tmp_path):
    written = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--size", "least", "--json", str(written)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("floors: at most")
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == 1, said
    assert "floors: stopped" in said
    assert json.loads(written.read_text())["parts"]["floors"]["outcome"].startswith("stopped")


def test_without_the_device_nothing_is_measured(runs, here, tmp_path):
    with pytest.raises(SystemExit, match="--device cpu --size rehearsal"):
        runs["__main__"].main(["--device", "cuda:99", "--size", "least", "--json", str(tmp_path / "gpu.json")], here)
