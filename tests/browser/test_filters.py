"""Filters on the page: what is chosen stays in sight, counts follow, and all of it lives in the address."""

from __future__ import annotations

import datetime as dt

from playwright.sync_api import expect

from tests.browser.actions import circle, draw, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site
from tests.browser.test_address import arrive


def test_filter_by_shape_folder_and_day(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("Folder").locator("option")).to_contain_text(["everywhere", "box (15)"])
    answer = wait_for_search(page, lambda: page.get_by_label("Shape").select_option("square"))
    assert all(result["width"] == result["height"] for result in answer["results"])
    expect(page.get_by_label("Folder").locator("option")).to_contain_text(["everywhere", "box (5)"])
    answer = wait_for_search(page, lambda: page.get_by_label("Folder").select_option("box"))
    assert {tag for result in answer["results"] for tag in result["tags"]} == {"box"}
    expect(page.locator("#filter-chosen .chip")).to_have_text(["square", "in box"])
    cards = shown(page)
    page.reload()
    arrive(page, cards)
    expect(page.locator("#filter-chosen .chip")).to_have_text(["square", "in box"])
    wait_for_search(page, lambda: page.get_by_role("button", name="Without in box").click())
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).date().isoformat()
    page.get_by_role("button", name="Filters").click()
    wait_for_search(page, lambda: page.get_by_label("Taken from").fill(tomorrow))
    expect(page.get_by_role("heading", name="No photo passes these filters")).to_be_visible()
    wait_for_search(page, lambda: page.get_by_role("button", name="Take all filters away").click())
    assert len(shown(page)) == 48


def test_a_link_with_a_tag_that_is_gone(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    sent = open_page(site, link=page.url + "&tag=dodo")
    expect(sent.get_by_role("heading", name="No photo passes these filters")).to_be_visible()
    site.console.clear()  # the browser itself reports the refused request
    wait_for_search(sent, lambda: sent.get_by_role("button", name="Take all filters away").click())
    assert len(shown(sent)) == 48
