"""A photo beside the drawing: sent with it, and kept in the address."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Site, shape
from tests.browser.test_address import arrive
from tests.browser.test_page import circle, draw, shown, wait_for_search


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
