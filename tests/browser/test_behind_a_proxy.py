"""The page under a path of its own, behind a proxy that strips the path or keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from index_builder import BuildOptions, build_gallery
from model.checkpoints.files import load_checkpoint
from tests.app.reverse_proxy import reverse_proxy
from tests.browser.actions import ZIGZAG, draw, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site, _fill, serve

PREFIX = "/tools/seek"


@pytest.fixture(scope="module")
def gallery(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("proxied")
    _fill(place / "photos", 12)
    network = load_checkpoint(checkpoint, "cpu", "float32")
    build_gallery(place / "photos", place / "gallery", network, options=BuildOptions(workers=1))
    return place / "gallery"


@pytest.fixture(scope="module")
def with_setting(gallery: Path, checkpoint: Path) -> Iterator[int]:
    """The port of a service that knows its path."""
    with serve(gallery, checkpoint=checkpoint, root_path=PREFIX) as url:
        yield urlsplit(url).port or 0


@pytest.fixture(scope="module")
def without_setting(gallery: Path, checkpoint: Path) -> Iterator[int]:
    """The port of a service that does not."""
    with serve(gallery, checkpoint=checkpoint) as url:
        yield urlsplit(url).port or 0


@dataclass(frozen=True)
class Way:
    """How the page is reached: the proxy strips the path or not, who names it, and what the address ends with."""

    strip: bool
    named_by: str
    ending: str


WAYS = [
    Way(strip=True, named_by="setting", ending=""),
    Way(strip=False, named_by="header", ending="/"),
    # Where nobody names the path, relative addresses do as long as the proxy strips it.
    Way(strip=True, named_by="nobody", ending="/"),
]
OTHERS = [Way(strip, by, end) for strip in (True, False) for by in ("setting", "header") for end in ("", "/")]


@pytest.mark.parametrize(
    "way", [*WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in OTHERS if way not in WAYS)], ids=str
)
def test_the_page_works_under_the_path(way: Way, with_setting: int, without_setting: int, open_page: OpenPage) -> None:
    port = with_setting if way.named_by == "setting" else without_setting
    added = {"X-Forwarded-Prefix": PREFIX} if way.named_by == "header" else {}
    with reverse_proxy(port, PREFIX, strip=way.strip, headers=added) as front:
        # Whatever the page asks for outside the path counts as foreign, and fails the test.
        site = Site(f"{front}{PREFIX}{way.ending}")
        page = open_page(site)
        wait_for_search(page, lambda: draw(page, ZIGZAG))
        assert shown(page)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.card img')].every(image => image.complete && image.naturalWidth > 0)"
        )
        page.locator(".card").first.click()
        photo = page.locator("#picture-photo img")
        expect(photo).to_be_visible()
        page.wait_for_function("() => document.querySelector('#picture-photo img').naturalWidth > 0")
        address = page.locator("#viewer-open").evaluate("link => link.href")
        assert address.startswith(f"{front}{PREFIX}/photos/")
        page.goto(f"{front}{PREFIX}/docs")
        assert page.locator("main").evaluate("main => getComputedStyle(main).maxWidth") != "none"
