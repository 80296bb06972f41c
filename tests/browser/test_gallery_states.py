"""What the page says of the gallery and its service: photos added or gone, a build, a lock, no answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Route, expect

from tests.browser.actions import PHONE, ZIGZAG, circle, draw, wait_for_search
from tests.browser.conftest import WRITE_KEY, OpenPage, Site, shape


def test_photos_are_added_with_the_write_key(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)
    expect(page.get_by_text("60 photos").first).to_be_visible()
    file = tmp_path / "new one.png"
    shape(99).rotate(30).save(file)
    page.get_by_role("button", name="Add photos").click()
    page.locator("#add-files").set_input_files(file)
    page.get_by_label("Write key").fill("wrong")
    page.get_by_role("button", name="Add to the gallery").click()
    expect(page.get_by_role("alert")).to_contain_text("not the write key")
    expect(page.get_by_label("Write key")).to_be_focused()
    site.console.clear()  # the browser itself reports the refused request
    page.get_by_label("Write key").fill(WRITE_KEY)
    page.get_by_role("button", name="Add to the gallery").click()
    expect(page.locator("#add-list .outcome")).to_contain_text("added")
    expect(page.locator("#gallery-status")).to_have_text("61 photos")
    expect(page.get_by_role("link", name="Open new one.png")).to_be_visible()
    page.locator("#add-files").set_input_files(file)
    page.get_by_role("button", name="Add to the gallery").click()
    expect(page.locator("#add-list .outcome").last).to_contain_text("already there")
    expect(page.locator("#add-note")).to_have_text("1 photo was already there.")
    page.get_by_role("button", name="Delete new one.png from the gallery").click()
    expect(page.locator("#add-list .outcome").first).to_have_text("deleted again")
    expect(page.locator("#gallery-status")).to_have_text("60 photos")
    page.get_by_role("button", name="Close").click()
    with page.expect_response(lambda r: "/photos/" in r.url and r.request.method == "GET") as info:
        wait_for_search(page, lambda: draw(page, circle()))
    assert info.value.ok, "photos load with a key as well"


def test_an_empty_gallery_says_what_to_do_and_notices_photos(
    empty_site: Site, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(empty_site, *PHONE)
    empty, built = (page.get_by_role("heading", name=f"The gallery is {state}") for state in ("empty", "being built"))
    expect(empty).to_be_visible(timeout=30_000)

    def as_while_it_is_built(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "building": {"step": "scanning", "done": 0, "total": None}})

    page.route("**/gallery", as_while_it_is_built, times=1)
    with page.expect_response("**/gallery") as first:
        page.reload()
    assert first.value.json()["building"]
    expect(empty).to_be_visible()  # as soon as the service tells that it is not built any more
    expect(built).to_have_count(0)
    expect(page.locator("#state")).to_contain_text("follows the folder “photos”: copy photos there")
    wait_for_search(page, lambda: draw(page, circle()))
    expect(page.get_by_role("heading", name="The gallery is empty")).to_be_visible()
    file = tmp_path / "first.png"
    shape(0).save(file)
    page.locator("#state").get_by_role("button", name="Add photos").click()
    page.get_by_label("Write key").fill(WRITE_KEY)
    page.locator("#add-files").set_input_files(file)
    with page.expect_response(lambda r: r.url.endswith("/search") and r.ok, timeout=30_000):
        page.get_by_role("button", name="Add to the gallery").click()
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".card")).to_have_count(1)
    # What is copied into the folder shows by itself, long before the page would ask again.
    assert empty_site.photos is not None
    shape(1).save(empty_site.photos / "second.png")
    expect(page.locator(".card")).to_have_count(2, timeout=15_000)


def test_without_a_service_the_page_says_so_and_tries_again(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.route("**/search", lambda route: route.abort())
    draw(page, ZIGZAG)
    alert = page.locator("#state [role=alert]")
    expect(alert).to_contain_text("does not answer")
    expect(page.locator(".card")).to_have_count(48)
    wait_for_search(page, lambda: page.unroute("**/search"))
    expect(alert).to_have_count(0)
    site.console.clear()


def test_a_page_that_loads_before_its_service_tries_again(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.route("**/gallery", lambda route: route.abort())
    page.reload()
    expect(page.locator("#state [role=alert]")).to_contain_text("does not answer")
    page.unroute("**/gallery")
    expect(page.locator(".doodle").first).to_be_visible()
    site.console.clear()


def test_an_empty_paper_says_how_to_begin_whatever_the_order(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.evaluate("document.querySelector('[data-order=recall]').click()")
    expect(page).to_have_url(re.compile("order=recall"))
    page.locator("#clear").click()
    expect(page.locator(".doodle").first).to_be_visible()


def test_a_running_build_shows_its_progress_and_its_end(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    expect(page.locator("#build")).to_be_hidden()
    building = {"step": "encoding", "done": 12, "total": 48}

    def answer(route: Any) -> None:
        state = route.fetch().json()
        route.fulfill(json={**state, "building": building or None})

    def tell(route: Any) -> None:
        event = {"version": "1.1", "photos": 60, "building": building or None}
        route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(event)}\n\n")

    page.route("**/gallery", answer)
    page.route("**/gallery/events", tell)
    page.reload()
    expect(page.locator("#build-text")).to_contain_text("12 of 48 photos")
    expect(page.locator("#build-progress")).to_have_attribute("value", "12")
    building.clear()
    expect(page.locator("#build")).to_be_hidden()
    page.unroute_all(behavior="ignoreErrors")


def test_photos_of_a_folder_that_vanished_are_noted(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    expect(page.locator("#held")).to_be_hidden()
    held = [
        {"folder": "pets/<nas>", "photos": 12, "code": "not_mounted", "detail": "The folder is not mounted any more."}
    ]

    def answer(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "held": held})

    page.route("**/gallery", answer)
    page.reload()
    expect(page.locator("#held")).to_contain_text("12 photos of “pets/<nas>” can be found but not shown")
    expect(page.locator("#held")).to_contain_text("The folder is not mounted any more. They come back with the folder.")
    held.clear()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#held")).to_be_hidden()
    page.unroute_all(behavior="ignoreErrors")


def test_a_gallery_behind_a_key_asks_for_it(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)

    def guard(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer open sesame":
            route.continue_(headers={**route.request.headers, "authorization": ""})
            return
        body = {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "code": "key_required",
            "detail": "A key.",
        }
        route.fulfill(status=401, json=body)

    page.route("**/gallery", guard)
    page.route("**/search", guard)
    page.route("**/photos/**", guard)
    page.reload()
    page.get_by_role("button", name="Enter a key").click()
    page.get_by_label("Access key").fill("open sesame")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".doodle").first).to_be_visible()
    wait_for_search(page, lambda: draw(page, circle()))
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    site.console.clear()


def test_a_busy_service_is_asked_again_by_itself(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    times = []

    def busy_once(route: Any) -> None:
        times.append(1)
        if len(times) > 1:
            route.continue_()
            return
        body = {"type": "about:blank", "title": "Busy", "status": 503, "code": "queue_full", "detail": "Come again."}
        route.fulfill(status=503, headers={"Retry-After": "1"}, json=body)

    page.route("**/search", busy_once)
    wait_for_search(page, lambda: draw(page, circle()))
    assert len(times) == 2
    site.console.clear()
