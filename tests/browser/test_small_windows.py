"""In a small window or at a large zoom: whole labels, a photo in view, and every way to bring a picture."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.actions import circle, draw, wait_for_search
from tests.browser.conftest import OpenPage, Site

# Words of controls and headings whose letters stand on more than one line.
_BROKEN = """() => [...document.querySelectorAll('button, label, a, h2, h3')].filter(e => e.offsetParent).flatMap(e => {
  const range = document.createRange(), broken = [];
  for (const text of [...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE))
    for (const word of text.data.matchAll(/\\S+/g)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) broken.push(word[0]);
    }
  return broken;
})"""

# A phone (what its browser leaves of the screen), a small one, half a screen, and a laptop's screen at 200 % zoom.
SIZES = [(390, 664), (320, 568), (900, 800), (720, 450), (640, 400)]
TIGHT = ((320, 568), (640, 400))  # where the least fits: upright, and lying


@pytest.mark.parametrize(
    ("width", "height"),
    [pytest.param(*size, marks=[pytest.mark.slow] * (size not in TIGHT)) for size in SIZES],
    ids=[f"{width}x{height}" for width, height in SIZES],
)
def test_labels_are_whole_and_a_photo_is_in_view(site: Site, open_page: OpenPage, width: int, height: int) -> None:
    page = open_page(site, width, height)
    expect(page.locator(".doodle").first).to_be_visible()
    assert page.evaluate(_BROKEN) == []
    wait_for_search(page, lambda: draw(page, circle()))
    assert page.evaluate(_BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.evaluate("scrollY") == 0
    top = page.evaluate("document.querySelector('.card').getBoundingClientRect().top")
    assert top < height - 24, "no photo is in view"
    for name in ("Upload", "Paste", "Camera"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    page.locator(".card-open").first.click()
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#pairs button").first).to_be_visible()
    assert page.evaluate(_BROKEN) == []
    assert page.evaluate("document.getElementById('viewer').scrollWidth <= innerWidth"), "a result scrolls sideways"
    photo = page.locator("#picture-photo").bounding_box()
    assert photo is not None
    assert photo["height"] > 0.25 * height, "beside its reasons, the photo is small"
    expect(page.locator("#viewer-similar")).to_be_in_viewport(ratio=1)
