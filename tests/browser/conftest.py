"""A real Chromium in front of a real server: a tiny network with random weights and a small gallery of drawn shapes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright

from index_builder import BuildOptions, build_gallery
from index_builder.store.gallery import Gallery
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.forked import Command
from tests.paths import ROOT

WRITE_KEY = "a-write-key"
POLLING = 50  # ms between looks at a page that a test waits for; at each frame, they would make it draw all the time
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_COLOURS = ("crimson", "royalblue", "seagreen", "orange", "purple", "teal", "chocolate", "black")


def chromium() -> str | None:
    """Where this machine's Chromium is, the one without windows first; SKETCHSEEK_TEST_CHROMIUM names another."""
    named = os.environ.get("SKETCHSEEK_TEST_CHROMIUM")
    usual = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return named or next(filter(None, map(shutil.which, usual)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and say loudly where they cannot run."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.timeout(300))
        if chromium() is None:
            item.add_marker(pytest.mark.skip(reason="NO CHROMIUM ON THIS MACHINE: THE PAGE WAS NOT TESTED"))


@dataclass
class Site:
    """A running service.

    Attributes:
        url: where the page is.
        photos: its folder of photos, if a test may change that.
        console: errors that any page of it wrote to its console, or threw; a test fails with one left in here.
        foreign: requests to any other host.
    """

    url: str
    photos: Path | None = None
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def shape(number: int) -> Image.Image:
    """A picture of one shape of one colour: circles, boxes, triangles and stripes take turns."""
    image = Image.new("RGB", (160, 120 if number % 3 else 160), "white")
    pen = ImageDraw.Draw(image)
    colour = _COLOURS[number % len(_COLOURS)]
    inset = 12 + 5 * (number % 6)
    box = (inset, inset, image.width - inset, image.height - inset)
    match number % 4:
        case 0:
            pen.ellipse(box, fill=colour)
        case 1:
            pen.rectangle(box, fill=colour)
        case 2:
            pen.polygon([(image.width / 2, box[1]), (box[2], box[3]), (box[0], box[3])], fill=colour)
        case _:
            for x in range(box[0], box[2], 20):
                pen.rectangle((x, box[1], x + 8, box[3]), fill=colour)
    return image


def _fill(root: Path, count: int) -> None:
    names = ("circle", "box", "triangle", "stripes")
    for number in range(count):
        folder = root / names[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        shape(number).save(folder / f"{names[number % 4]}_{number:02d}.png")


@contextlib.contextmanager
def serve(gallery: Path, **settings: str | Path) -> Iterator[str]:
    """`sketchseek serve` in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {f"SKETCHSEEK_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {
        "SKETCHSEEK_GALLERY": str(gallery),
        "SKETCHSEEK_FOLLOW_INTERVAL_S": "0.2",
        "SKETCHSEEK_DRAIN_S": "0.01",
    }
    log = Path(tempfile.gettempdir()) / f"sketchseek-test-{port}.log"
    process = Command(["serve", "--port", str(port)], environment, output=log, errors=log)
    try:
        _wait_until_open(port, process, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.end()
        log.unlink(missing_ok=True)


def _wait_until_open(port: int, process: Command, log: Path) -> None:
    end = time.monotonic() + 150
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            connection.getresponse()
            connection.close()
            return
        time.sleep(0.1)
    raise AssertionError(f"the service did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("browser") / "tiny.safetensors"
    save_checkpoint(build_network(ZSE_TINY), path)
    return path


@pytest.fixture(scope="session")
def site(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service over 60 shapes that may be added to."""
    place = tmp_path_factory.mktemp("site")
    _fill(place / "photos", 60)
    network = load_checkpoint(checkpoint, "cpu", "float32")
    build_gallery(place / "photos", place / "gallery", network, options=BuildOptions(workers=1))
    with serve(place / "gallery", photos=place / "photos", checkpoint=checkpoint, write_key=WRITE_KEY) as url:
        yield Site(url)


@pytest.fixture(scope="session")
def empty_site(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that follows an empty folder of photos."""
    place = tmp_path_factory.mktemp("empty")
    photos = place / "photos"
    photos.mkdir()
    with serve(place / "gallery", photos=photos, checkpoint=checkpoint, write_key=WRITE_KEY, watch="true") as url:
        yield Site(url, photos)


@pytest.fixture(scope="session")
def sample_site() -> Iterator[Site]:
    """The sample gallery that `make serve` leaves in .sample, or the gallery that SKETCHSEEK_TEST_GALLERY names."""
    sample = ROOT / ".sample"
    gallery = Path(os.environ.get("SKETCHSEEK_TEST_GALLERY", sample / "gallery"))
    if not gallery.is_dir():
        pytest.skip("there is no sample gallery here; `make serve` makes one")
    if gallery == sample / "gallery":
        files = len(json.loads((sample / "sample.json").read_text())["files"])
        photos = Gallery.open(gallery).dataset().count_rows()
        if photos < files:
            pytest.skip(f"the sample gallery holds {photos} of {files} pictures; `make serve` indexes the others")
    with serve(gallery) as url:
        yield Site(url)


@pytest.fixture(scope="module")  # while it is open, an event loop runs on this thread: other tests could start none
def browser() -> Iterator[Browser]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS.split())
            yield opened
            opened.close()


OpenPage = Callable[..., Page]

# Random weights find all shapes alike, and no match clear. So here nothing collapses, unless a test says
# `window.collapsing = true`, and all matches count as clear.
_AS_IF_TRAINED = """
const untrained = window.fetch;
window.fetch = async (url, options) => {
  if (String(url).endsWith('/search') && !window.collapsing) options.body.delete('collapse');
  const response = await untrained(url, options);
  const isJson = response.headers.get('Content-Type') === 'application/json';
  if (!String(url).endsWith('/explain') || !response.ok || !isJson) return response;
  const said = await response.json();
  for (const pair of said.correspondences) pair.clear = true;
  return new Response(JSON.stringify(said), response);
};
"""

# Counts the page's searches and keeps the answer to the last of them.
_COUNT_SEARCHES = """
window.searches = {started: 0, answer: null};
const real = window.fetch;
window.fetch = async (url, options) => {
  if (!String(url).endsWith('/search')) return real(url, options);
  const mine = (window.searches.started += 1);
  const response = await real(url, options);
  const answer = response.ok ? await response.clone().json() : null;
  if (answer && mine === window.searches.started) window.searches.answer = answer;
  return response;
};
"""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a site's page, or a link to it, in a fresh context; when the test ends, its console must be clean."""
    contexts = []
    sites: list[Site] = []

    def opened(site: Site, width: int = 1440, height: int = 900, link: str = "", **options: object) -> Page:
        # Nothing moves but where a test asks for it: frames were a third of what these tests cost.
        chosen = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce"} | options
        context = browser.new_context(**chosen)  # type: ignore[arg-type]
        contexts.append(context)
        sites.append(site)
        site.console.clear()
        site.foreign.clear()
        page = context.new_page()
        page.add_init_script(_AS_IF_TRAINED + _COUNT_SEARCHES)
        page.set_default_timeout(40_000)
        page.on("console", lambda message: site.console.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: site.console.append(str(error)))
        page.on("request", lambda request: _watch(site, request.url))
        page.goto(link or site.url)
        return page

    yield opened
    for context in contexts:
        context.close()
    for site in sites:
        assert not site.console, f"the page's console has errors: {site.console}"
        assert not site.foreign, f"the page asked other hosts: {site.foreign}"


def _watch(site: Site, url: str) -> None:
    if not url.startswith((site.url, "data:", "blob:")):
        site.foreign.append(url)
