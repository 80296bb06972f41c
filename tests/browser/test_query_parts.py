"""Words and a photo beside the drawing: sent together, kept in the address, and told where they cannot be used."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.actions import circle, draw, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site, shape
from tests.browser.test_address import arrive


def answer_words(page: Page, answer: dict[str, Any], code: str = "") -> list[str]:
    """Let every search with words get this answer, or be refused with a code; the bodies of these searches."""
    sent: list[str] = []

    def handle(route: Route) -> None:
        body = (route.request.post_data_buffer or b"").decode("latin-1")
        if 'name="text"' not in body:
            route.fallback()
            return
        sent.append(body)
        if code:
            said = {"type": "about:blank", "title": "No", "status": 422, "code": code, "detail": "Write it in English."}
            route.fulfill(status=422, json=said)
        else:
            route.fulfill(json=answer)

    page.route("**/search", handle)
    return sent


def test_words_join_the_drawing_and_live_in_the_address(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    answer = wait_for_search(page, lambda: draw(page, circle()))
    drawn = shown(page)
    answer["results"].reverse()
    said = [result["photo_id"] for result in answer["results"]]
    sent = answer_words(page, answer)
    wait_for_search(page, lambda: page.get_by_label("Words").fill("red chair"))
    assert shown(page) == said
    assert len(sent) == 1
    assert 'name="sketch"' in sent[0]
    assert "red chair" in sent[0]
    assert "words=red+chair" in page.url
    page.reload()
    arrive(page, said)
    expect(page.get_by_label("Words")).to_have_value("red chair")
    page.go_back()
    arrive(page, drawn)
    expect(page.get_by_label("Words")).to_have_value("")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    wait_for_search(page, lambda: page.get_by_label("Words").fill("lamp"))
    assert 'name="sketch"' not in sent[-1], "words alone are a query"


@pytest.mark.parametrize(
    ("code", "told", "enabled"),
    [
        ("text_not_installed", "sketchseek[text]", False),
        pytest.param("text_not_supported", "cannot read words", False, marks=pytest.mark.slow),
        ("invalid_text", "Write it in English.", True),
    ],
)
def test_words_that_cannot_be_read_are_told_and_left_out(
    site: Site, open_page: OpenPage, code: str, told: str, enabled: bool
) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    drawn = shown(page)
    answer_words(page, {}, code)
    wait_for_search(page, lambda: page.get_by_label("Words").fill("Stuhl"))
    site.console.clear()  # the browser itself reports the refused request
    expect(page.locator("#words-note")).to_contain_text(told)
    until = time.monotonic() + 10
    while shown(page) != drawn:  # the search without the words follows the refused one
        assert time.monotonic() < until, "the drawing goes on without the words"
        page.wait_for_timeout(50)
    expect(page.get_by_label("Words")).to_be_enabled(enabled=enabled)
    assert "words" not in page.url


def test_a_photo_is_a_query(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)
    file = tmp_path / "photo.png"
    shape(1).save(file)
    alone = wait_for_search(page, lambda: page.locator("#wanted-file").set_input_files(file))
    assert list(alone["parts"]) == ["photo"]
    expect(page.get_by_text("Looks like this photo")).to_be_visible()
    cards = shown(page)
    page.reload()
    arrive(page, cards)
    expect(page.get_by_text("Looks like this photo")).to_be_visible()
    both = wait_for_search(page, lambda: draw(page, circle()))
    assert sorted(both["parts"]) == ["photo", "sketch"]
    sent = open_page(site, link=page.url)
    expect(sent.locator(".toast")).to_contain_text("a link cannot carry it")
    wait_for_search(page, lambda: page.get_by_role("button", name="Without this photo").click())
    expect(page.locator("#wanted")).to_be_hidden()
    assert "photo=" not in page.url


def test_opinions_refine_the_search_and_live_in_the_address(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    first, *_, last = shown(page)
    page.locator(f'.card[data-photo="{last}"]').hover()
    liked = page.locator(f'.card[data-photo="{last}"]').get_by_role("button", name="More of this")
    answer = wait_for_search(page, liked.click)
    assert sorted(answer["parts"]) == ["like", "sketch"]
    assert shown(page)[0] == last, "what is liked comes first"
    expect(liked).to_have_attribute("aria-pressed", "true")
    page.locator(f'.card[data-photo="{first}"] .card-open').click()
    wait_for_search(page, lambda: page.get_by_role("dialog").get_by_role("button", name="Less of this").click())
    page.keyboard.press("Escape")
    assert first not in shown(page)
    cards = shown(page)
    page.reload()
    arrive(page, cards)
    expect(page.locator("#judged .chip")).to_have_count(2)
    wait_for_search(page, lambda: page.get_by_role("button", name="No longer: less of this").click())
    assert first in shown(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    expect(page.locator("#judged")).to_be_hidden()
    assert "like" not in page.url
