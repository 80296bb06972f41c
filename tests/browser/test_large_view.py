"""The large view shows a photo whatever its name promises, and nothing that comes late lands on another photo."""

from __future__ import annotations

import io
import re

from PIL import Image
from playwright.sync_api import Route, expect

from tests.browser.actions import circle, draw, wait_for_search
from tests.browser.conftest import OpenPage, Site


def test_a_photo_that_the_browser_cannot_show_is_shown_as_a_picture(site: Site, open_page: OpenPage) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "TIFF")
    page = open_page(site)
    page.route(re.compile(r"/photos/[^/?]+$"), lambda route: route.fulfill(body=stream.getvalue()))
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card-open").first.click()
    photo = page.locator("#picture-photo img")
    expect(photo).to_have_attribute("src", re.compile("rendition=screen$"))
    page.wait_for_function("() => document.querySelector('#picture-photo img').naturalWidth > 0")
    page.get_by_role("button", name="Details").last.click()
    expect(page.locator("#viewer-original")).to_be_visible()
    expect(page.locator("#viewer-open")).to_have_attribute("href", re.compile("rendition=screen$"))
    expect(page.locator("#viewer-problem")).to_be_hidden()
    page.unroute_all(behavior="ignoreErrors")


def test_bytes_that_come_late_are_not_the_next_photos(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.evaluate("sessionStorage.setItem('sketchseek-key', 'a key')")
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    def as_scans(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for one in found["results"]:
            one["path"] += ".tif"
        route.fulfill(response=answer, json=found)

    page.route("**/*rendition=screen", hold_the_first)
    page.route("**/search", as_scans)
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card-open").first.click()
    page.get_by_role("button", name="Next result").click()
    page.wait_for_function("() => document.querySelector('#picture-photo img').naturalWidth > 0")
    second = page.locator("#picture-photo img").get_attribute("src")
    with page.expect_response(re.compile("rendition=screen$")):
        held[0].continue_()
    page.wait_for_timeout(100)
    assert page.locator("#picture-photo img").get_attribute("src") == second
    page.unroute_all(behavior="ignoreErrors")


def test_a_photo_that_cannot_be_loaded_or_explained_says_so(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.route(re.compile(r"/photos/[^/?]+(\?rendition=screen)?$"), lambda route: route.fulfill(body="no picture"))
    page.route("**/explain", lambda route: route.fulfill(status=500, json={"code": "internal", "detail": "It broke."}))
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=500, json={"code": "internal", "detail": "No more now."})

    page.route("**/search", refuse)
    page.locator(".card-open").last.evaluate("card => card.click()")
    problem = page.locator("#viewer-problem")
    expect(problem).to_have_text("The photo cannot be loaded.")
    expect(page.locator("#picture-photo img")).to_be_hidden()
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#match-help")).to_have_text("It broke.")
    expect(page.locator("#picture-synthesis")).not_to_have_class(re.compile("waiting"))
    page.locator("#viewer-more").click()
    expect(page.locator("#details-title")).to_be_in_viewport()
    while len(asked) < 3:  # a press while the page still waits for an answer asks nothing
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(50)
    expect(page.locator(".toast")).to_have_text("No more now.")
    page.unroute_all(behavior="ignoreErrors")
    site.console.clear()  # where the browser writes answers of 500
