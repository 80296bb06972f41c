"""What a hand draws is what is seen and searched: corners stay and curves are smooth, with many samples or few."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.actions import draw, wait_for_search
from tests.browser.conftest import OpenPage, Site

TRIANGLE = [(0.2, 0.8), (0.5, 0.2), (0.8, 0.8), (0.2, 0.8)]

# Draws one stroke by `samples`, [[x, y]] as shares of the paper, in a single event between two frames.
_ONE_EVENT = """samples => {
  const canvas = document.getElementById('canvas'), box = canvas.getBoundingClientRect();
  const at = ([x, y], more) => ({pointerId: 1, bubbles: true, clientX: box.left + x * box.width,
    clientY: box.top + y * box.height, ...more});
  const parts = samples.map(sample => new PointerEvent('pointermove', at(sample)));
  canvas.dispatchEvent(new PointerEvent('pointermove', at(samples.at(-1), {coalescedEvents: parts})));
}"""


def seen(page: Page) -> npt.NDArray[np.float64]:
    """[512, 512] how dark the paper is, 0 to 1, of side 512 whatever the window."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    url = page.evaluate("document.getElementById('canvas').toDataURL()")
    image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("L").resize((512, 512))
    return 1 - np.asarray(image, dtype=float) / 255


def ink_at(paper: npt.NDArray[np.float64], points: list[tuple[float, float]]) -> list[float]:
    """How dark the paper is at points, given as shares of it."""
    return [float(paper[round(y * 511), round(x * 511)]) for x, y in points]


def start_anew(page: Page) -> None:
    page.locator("#canvas").focus()
    page.keyboard.press("Delete")


def test_a_triangle_keeps_its_corners_however_often_the_pen_is_reported(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    drawings = []
    for samples in (1, 4, 12, 40):
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in TRIANGLE]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=samples)
        page.mouse.up()
        drawings.append(seen(page))
        start_anew(page)
    for drawing in drawings:
        assert min(ink_at(drawing, TRIANGLE)) > 0.9, "a corner is cut off"
        assert np.abs(drawing - drawings[0]).max() < 0.5, "a line lies elsewhere"


def test_samples_between_two_frames_count(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    draw(page, [(0.1, 0.9), (0.12, 0.9)])  # the mouse is known from here on
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + TRIANGLE[0][0] * box["width"], box["y"] + TRIANGLE[0][1] * box["height"])
    page.mouse.down()
    page.evaluate(_ONE_EVENT, TRIANGLE)
    page.mouse.up()
    assert min(ink_at(seen(page), TRIANGLE)) > 0.9


def test_a_fast_circle_is_round(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    turn = [2 * math.pi * k / 10 for k in range(11)]
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    places = [(0.5 + 0.3 * math.cos(a), 0.5 + 0.3 * math.sin(a)) for a in turn]
    page.mouse.move(box["x"] + places[0][0] * box["width"], box["y"] + places[0][1] * box["height"])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.up()
    rows, columns = np.nonzero(seen(page) > 0.5)
    radius = np.hypot(columns - 255.5, rows - 255.5)
    # Chords between ten samples would come as near to the middle as 0.951 of the radius; the line is 6 wide.
    assert 0.3 * 512 - 6 < radius.min() <= radius.max() < 0.3 * 512 + 6


def test_a_rectangle_by_keys_has_four_corners(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.locator("#canvas").focus()
    page.keyboard.press("Space")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        for _ in range(3):
            page.keyboard.press(f"Shift+{key}")
    page.keyboard.press("Space")
    far = 0.5 + 3 * 40 / 512
    # A line of width 6 with round joins fills its corner to within 1 unit of the outer edges' crossing.
    corners = [(0.5, 0.5), (far, 0.5), (far, far), (0.5, far)]
    outer = [(x + (0.003 if x > 0.5 else -0.003), y + (0.003 if y > 0.5 else -0.003)) for x, y in corners]
    assert min(ink_at(seen(page), outer)) > 0.9


def test_an_example_goes_with_one_undo(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: page.get_by_role("button", name="house").click())
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    assert seen(page).max() == 0
    wait_for_search(page, lambda: page.get_by_role("button", name="Redo").click())
    assert seen(page).max() > 0


@pytest.mark.parametrize(
    ("name", "kept_in"),
    [("camera", "photos"), ("sofa", "photos"), ("bicycle", "photos"), ("house", "photos"), ("umbrella", "icons")],
)
def test_an_example_finds_its_own_kind(sample_site: Site, open_page: OpenPage, name: str, kept_in: str) -> None:
    """In the sample gallery, whose files are named after what they show: a photo, if there is one of that kind."""
    page = open_page(sample_site)
    answer = wait_for_search(page, lambda: page.locator(".doodle", has_text=name).click())
    found = [result["path"] for result in answer["results"][:10]]
    assert any(name in path and path.startswith(f"{kept_in}/") for path in found), found


def test_the_sheet_of_keys(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Pen down, pen up")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_label("Words")).to_be_focused()
    page.keyboard.type("?")
    expect(page.get_by_label("Words")).to_have_value("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("Backspace")
