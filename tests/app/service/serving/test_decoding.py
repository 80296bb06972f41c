"""Pictures decoded in processes: the same pixels and errors as on a thread, and no request lost with a process."""

from __future__ import annotations

import copy
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.main import create_app
from app.service.serving import decoding as decoding_module
from app.service.serving.deadline import Deadline
from app.service.serving.decoding import Decoding
from app.service_errors import BusyError
from model import errors
from model.errors import BlankSketchError, ImageTooLargeError, SketchseekError
from model.helper_processes import HelperLostError, HelperNeverBeganError
from model.images.sent_picture import SentPicture
from model.networks.network import Network
from model.presets import ZSE_TINY
from tests.app.conftest import encoded, open_client, picture, service_in, settings_for, sketch
from tests.paths import ROOT

CONFIG = ZSE_TINY.preprocess
STROKES = SentPicture("sketch", strokes=[[[0.0, 50.0, 90.0], [0.0, 80.0, 10.0]]])
STRAIGHT = SentPicture("sketch", strokes=[[[0.0, 90.0], [0.0, 80.0]]])


def decoding(processes: int, **changes: Any) -> Decoding:
    settings = settings_for(Path("none"), max_sketch_pixels=100_000, **changes)
    return Decoding(processes, settings, CONFIG, settings.sketch_limits())


@pytest.fixture(scope="module")
def processes() -> Iterator[Decoding]:
    made = decoding(1)
    began = made.warm
    made.start()
    assert (began, made.warm) == (False, True)
    yield made
    made.close()


def soon(seconds: float = 100.0) -> Deadline:
    return Deadline(seconds, 3, lambda: None)


def helper_of(made: Decoding) -> int:
    """The id of its process."""
    assert made._helpers is not None
    (helper,) = list(made._helpers._idle.queue)
    assert helper is not None
    return helper._process.pid


@pytest.mark.parametrize(
    "sent",
    [
        SentPicture("sketch", sketch(1)),
        SentPicture("sketch", encoded(picture(2), "JPEG")),
        SentPicture("photo", encoded(picture(3), "WEBP")),
        STROKES,
    ],
)
def test_pixels_are_the_same_bit_for_bit(processes: Decoding, sent: SentPicture) -> None:
    pixels, expected = processes.pixels(sent, soon()), decoding(0).pixels(sent, soon())
    assert (pixels.mode, pixels.size) == (expected.mode, expected.size) == ("RGB", (CONFIG.image_size,) * 2)
    assert np.array_equal(np.asarray(pixels), np.asarray(expected))


@pytest.mark.parametrize("sent", [STROKES, STRAIGHT])
def test_a_process_says_as_well_whether_a_sketch_has_little_ink(processes: Decoding, sent: SentPicture) -> None:
    drawn, expected = processes.drawn(sent, soon()), decoding(0).drawn(sent, soon())
    assert np.array_equal(np.asarray(drawn.pixels), np.asarray(expected.pixels))
    assert drawn.little_ink == expected.little_ink == (sent is STRAIGHT)


@pytest.mark.parametrize(
    "data",
    [
        b"no picture",
        sketch()[:100],
        encoded(Image.new("L", (64, 64), 255)),
        encoded(Image.new("L", (400, 400))),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    ],
)
def test_errors_are_the_same(processes: Decoding, data: bytes) -> None:
    seen = []
    for made in (processes, decoding(0)):
        with pytest.raises(SketchseekError) as caught:
            made.pixels(SentPicture("sketch", data), soon())
        seen.append((type(caught.value), str(caught.value), vars(caught.value)))
    assert seen[0] == seen[1]


def test_every_error_of_a_picture_survives_being_pickled() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, SketchseekError)]
    for kind in kinds:
        error = kind("the fact")
        again = copy.copy(error)  # as pickle does it
        assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
    large = ImageTooLargeError("too many bytes", "image_memory", settable=False)
    again = copy.copy(large)
    assert (str(again), vars(again)) == (str(large), vars(large))


def test_a_process_that_is_killed_is_replaced(processes: Decoding) -> None:
    before = helper_of(processes)
    os.kill(before, signal.SIGTERM)  # as for the whole service, which needs it until its end
    assert processes.pixels(STROKES, soon()).mode == "RGB"
    assert helper_of(processes) == before
    os.kill(before, signal.SIGKILL)
    with pytest.raises(BlankSketchError):
        processes.pixels(SentPicture("sketch", encoded(Image.new("L", (64, 64), 255))), soon())
    assert helper_of(processes) != before


def lose(made: Decoding, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> None:
    helpers: Any = made._helpers
    real = helpers.ask

    def ask(request: Any, until: float | None = None) -> Any:
        if errors:
            raise errors.pop(0)
        return real(request, until)

    monkeypatch.setattr(helpers, "ask", ask)


def test_a_picture_is_decoded_again_once(processes: Decoding, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(processes, monkeypatch, [HelperLostError("gone")])
    assert processes.pixels(STROKES, soon()).mode == "RGB"
    lose(processes, monkeypatch, [HelperLostError("gone")] * 2)
    with pytest.raises(BusyError) as caught:
        processes.pixels(STROKES, soon())
    assert (caught.value.code, caught.value.status) == ("decoder_lost", 503)
    assert int(caught.value.headers["Retry-After"]) >= 1
    lose(processes, monkeypatch, [HelperLostError("gone")])
    with pytest.raises(BusyError) as caught:
        processes.pixels(STROKES, soon(0))
    assert caught.value.code == "deadline_exceeded"


def test_no_free_process_in_time_is_too_late(processes: Decoding) -> None:
    assert processes._helpers is not None
    taken = processes._helpers._idle.get()
    try:
        with pytest.raises(BusyError) as caught:
            processes.pixels(STROKES, soon(0.05))
    finally:
        processes._helpers._idle.put(taken)
    assert caught.value.code == "deadline_exceeded"


def test_threads_decode_where_no_process_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made = decoding(2)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        with capture_logs() as logged, ThreadPoolExecutor(4) as threads:
            found = [threads.submit(made.pixels, STROKES, soon()) for _ in range(8)]
            made.start()
            assert {one.result().mode for one in found} == {"RGB"}
        assert [entry["log_level"] for entry in logged] == ["warning"]
        assert made.warm
        monkeypatch.setattr(decoding_module, "_PAUSE_S", 0.0)
        made._again_at = 0.0
        with capture_logs() as logged:
            assert made.pixels(STROKES, soon()).mode == "RGB"
            until_tried(made)
        assert not logged, "one warning is enough"
        assert again_at(made) is not None
    made._again_at = 0.0
    assert made.pixels(STROKES, soon()).mode == "RGB"
    until_tried(made)
    assert again_at(made) is None, "processes can start again"
    helper = made._helpers
    assert helper is not None
    assert len(helper._running) == 1
    made.close()


def again_at(made: Decoding) -> float | None:
    return made._again_at


def until_tried(made: Decoding) -> None:
    """Waits until processes were tried again."""
    until = time.monotonic() + 60
    while again_at(made) == math.inf and time.monotonic() < until:
        time.sleep(0.01)


def test_a_running_service_goes_on_where_a_lost_process_cannot_be_replaced(
    processes: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes._helpers is not None
    for helper in processes._helpers._running:
        helper._process.kill()
        helper._process.wait(10)
    with monkeypatch.context() as patch, capture_logs() as logged:
        patch.setattr(sys, "executable", shutil.which("false"))
        for _ in range(3):
            assert processes.pixels(STROKES, soon()).mode == "RGB"
    assert sum("on threads" in entry["event"] for entry in logged) == 1
    processes._again_at = None
    lose(processes, monkeypatch, [HelperLostError("gone"), HelperNeverBeganError("no more processes")])
    with pytest.raises(BusyError) as caught:  # a picture that may kill is not decoded in the service itself
        processes.pixels(STROKES, soon())
    assert caught.value.code == "decoder_lost"
    processes._again_at = None


def test_such_a_process_needs_no_torch() -> None:
    code = "import sys, app.service.serving.decoding_process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_service_decodes_in_processes(shared_gallery: Path, network: Network, service: TestClient) -> None:
    with open_client(create_app(settings_for(shared_gallery, decode_processes=1), network)) as client:
        helper = helper_of(service_in(client).decoding)
        found = []
        for one in (client, service):
            answer = one.post("/search", files={"sketch": sketch(2), "photo": encoded(picture(1))}).json()
            found.append([(result["photo_id"], result["score"]) for result in answer["results"]])
        assert found[0] == found[1]
        assert client.post("/search", files={"sketch": b"no picture"}).json()["code"] == "unreadable_image"
        os.kill(helper, signal.SIGKILL)
        photo = found[0][0][0]
        answer = client.post("/explain", files={"sketch": sketch()}, data={"photo_id": photo})
        assert answer.status_code == 200
        helper = helper_of(service_in(client).decoding)
    with pytest.raises(ProcessLookupError):
        os.kill(helper, 0)
