"""Thumbnails look as Chromium shows the originals: colours, transparency, CMYK, bit depths."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from app.service.files.renditions import rendition
from model.images.opening import ImageLimits
from tests.libraries.odd_looks import SHOWN, SIZE

# Of 255, away from the edges between colours: WebP's compression, and rounding on both sides.
MEAN, WORST = 2.0, 8


@pytest.fixture(scope="module")
def blank_page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 400, "height": 300})
    yield page
    page.close()


def shown(page: Page, media_type: str, data: bytes) -> np.ndarray:
    """[120, 160, 3] what an `<img>` on a white page shows."""
    source = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    page.set_content(f'<body style="margin:0;background:#fff"><img style="display:block" src="{source}">')
    page.evaluate("document.querySelector('img').decode()")
    return pixels(page.locator("img").screenshot(type="png"))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("name", SHOWN)
def test_a_thumbnail_looks_as_the_browser_shows_the_original(blank_page: Page, name: str) -> None:
    media_type, build = SHOWN[name]
    data = build()
    theirs, ours = shown(blank_page, media_type, data), pixels(rendition(data, ImageLimits(), 256))
    assert theirs.shape == ours.shape == (SIZE[1], SIZE[0], 3)
    inner = np.zeros(SIZE[::-1], dtype=bool)
    for x in range(0, 160, 40):
        for y in range(0, 120, 40):
            inner[y + 12 : y + 28, x + 12 : x + 28] = True
    difference = np.abs(theirs - ours)[inner]
    assert difference.mean() <= MEAN, (name, difference.mean())
    assert np.percentile(difference, 99) <= WORST, (name, np.percentile(difference, 99))
