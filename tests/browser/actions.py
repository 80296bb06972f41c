"""What a person does at the page, and what is seen there then."""

from __future__ import annotations

import math
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tests.browser.conftest import POLLING

WIDE, PHONE = (1440, 900), (390, 844)
SIZES = pytest.mark.parametrize(("width", "height"), [WIDE, PHONE], ids=["wide", "phone"])
ZIGZAG = [(0.1, 0.2), (0.9, 0.3), (0.15, 0.5), (0.85, 0.7), (0.2, 0.9)]


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """One stroke by mouse; points as shares of the canvas."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    (x, y), *rest = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in rest:
        page.mouse.move(x, y, steps=3 if len(rest) < 10 else 1)
    page.mouse.up()


def circle(radius: float = 0.3, steps: int = 24) -> list[tuple[float, float]]:
    angles = [2 * math.pi * k / steps for k in range(steps + 1)]
    return [(0.5 + radius * math.cos(a), 0.5 + radius * math.sin(a)) for a in angles]


def shown(page: Page) -> list[str]:
    """Ids of the photos in the grid, in order."""
    ids: list[str] = page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.photo)")
    return ids


def lit(side: Locator) -> int:
    return side.locator(".patch.on").count()


def dark_pixels(page: Page) -> int:
    count: int = page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] < 128) n += 1; return n }"
    )
    return count


def wait_for_search(page: Page, action: Any) -> dict[str, Any]:
    """Do something that searches; the last answer, once it is shown and nothing else is asked for."""
    before = page.evaluate("searches.started")
    action()
    page.wait_for_function(
        "before => { const { started, answer } = searches;"
        " if (!answer || started === before || document.getElementById('grid').ariaBusy) return false;"
        " const cards = [...document.querySelectorAll('.card')].map(card => card.dataset.photo);"
        " const first = answer.results.slice(0, cards.length);"  # those behind the likely ones come on request
        " if (first.length < cards.length || (answer.results.length && !cards.length)) return false;"
        " return first.every(({ photo_id }, i) => cards[i] === photo_id) }",
        arg=before,
        polling=POLLING,
    )
    answer: dict[str, Any] = page.evaluate("searches.answer")
    return answer
