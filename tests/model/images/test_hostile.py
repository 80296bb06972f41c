"""Every hostile image gets an answer: an image or a typed error, soon and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.model.images.hostile import CASES
from tests.model.images.hostile.measure import ways_of
from tests.paths import ROOT

SECONDS = 2.0
MEGABYTES = 300.0


class Answers:
    """What `tests.model.images.hostile.measure` prints, read as far as a test asks for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, name: str, way: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        while (name, way) not in self._lines:
            text = self._process.stdout.readline()
            assert text, f"the measuring process ended before {name!r}"
            line = json.loads(text)
            self._lines[line["name"], line["way"]] = line
        return self._lines[name, way]


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> Iterator[Answers]:
    """Of the images that this run asks for."""
    calls = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    names = [call.params["name"] for call in calls if call is not None]
    command = [sys.executable, "-W", "ignore", "-m", "tests.model.images.hostile.measure", *names]
    root = ROOT
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield Answers(process)
        process.kill()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 180


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * case.large) for name, case in CASES.items()]
)
def test_hostile_image_is_answered(answers: Answers, name: str) -> None:
    expected = {"opened" if outcome is None else outcome.__name__ for outcome in CASES[name].outcomes}
    for way in ways_of(name):
        answer = answers.of(name, way)
        assert answer["outcome"] in expected, answer
        assert answer["processor_s"] < SECONDS, answer
        assert answer["extra_mb"] < MEGABYTES, answer
