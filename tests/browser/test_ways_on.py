"""Where one goes on from results: an open photo and why it was found, another order, a filter, more like it."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Route, expect

from index_builder import build_gallery
from model.checkpoints.files import load_checkpoint
from tests.browser.actions import SIZES, circle, dark_pixels, draw, lit, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site, serve, shape


@SIZES
def test_a_result_opens_with_its_correspondences(site: Site, open_page: OpenPage, width: int, height: int) -> None:
    page = open_page(site, width, height)
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card-open").first.click()
    dialog = page.get_by_role("dialog")
    expect(page.locator("#why")).to_be_hidden()
    page.get_by_role("button", name="Why?").click()
    expect(dialog.locator("#pairs button").first).to_be_visible()
    sketch, photo = page.locator("#picture-sketch"), page.locator("#picture-photo")
    assert sketch.locator(".patch").count() > 0
    assert lit(sketch) == lit(photo) == 0
    sketch.locator(".patch").first.hover()
    expect(photo).to_have_class(re.compile("lit"))
    assert lit(sketch) == 1
    assert lit(photo) >= 1
    page.mouse.move(2, 2)
    expect(photo).not_to_have_class(re.compile("lit"))
    photo.locator(".patch").last.hover()
    assert lit(photo) == 1
    assert lit(sketch) >= 1
    page.wait_for_function("() => document.querySelector('#picture-synthesis img').naturalWidth > 0")
    for kind in ("All results", "Where it looks"):
        with page.expect_response(lambda r: r.url.endswith("/explain") and r.ok):
            dialog.get_by_role("button", name=kind).click()
        page.wait_for_function("() => document.querySelector('#picture-synthesis img').naturalWidth > 0")
    with page.expect_response(lambda r: r.url.endswith("/explain") and r.ok):
        page.get_by_role("button", name="Next result").click()
    expect(page.locator("#viewer-place")).to_contain_text("2 of ")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_photo_that_browsers_do_not_show_is_shown_and_can_be_had(
    checkpoint: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    (tmp_path / "photos").mkdir()
    shape(1).save(tmp_path / "photos" / "box.tif")
    build_gallery(tmp_path / "photos", tmp_path / "gallery", load_checkpoint(checkpoint, "cpu", "float32"))
    with serve(tmp_path / "gallery", photos=tmp_path / "photos", checkpoint=checkpoint) as url:
        page = open_page(Site(url))
        wait_for_search(page, lambda: draw(page, circle()))
        page.locator(".card-open").first.click()
        photo = page.locator("#picture-photo img")
        page.wait_for_function("() => document.querySelector('#picture-photo img').naturalWidth === 160")
        assert (photo.get_attribute("src") or "").endswith("?rendition=screen")
        page.locator("#viewer-more").click()
        expect(page.get_by_role("link", name="Open the photo")).to_have_attribute(
            "href", re.compile("rendition=screen$")
        )
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the original").click()
        assert download.value.suggested_filename == "box.tif"
        assert download.value.path().read_bytes() == (tmp_path / "photos" / "box.tif").read_bytes()


def test_orders_are_offered_only_where_they_differ(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    expect(page.locator("#order")).to_be_visible()

    def recall_alone(route: Route) -> None:
        answer = route.fetch()
        state = answer.json()
        state["checkpoint"]["reranks"] = False
        route.fulfill(response=answer, json=state)

    page.route("**/gallery", recall_alone)
    page.reload()
    wait_for_search(page, lambda: draw(page, circle()))
    expect(page.locator("#order")).to_be_hidden()


def test_recall_order_details_and_more_on_request(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    reranked = wait_for_search(page, lambda: draw(page, circle()))
    assert shown(page)[:48] == [r["photo_id"] for r in reranked["results"]]
    recalled = wait_for_search(page, lambda: page.get_by_role("button", name="Quick order").click())
    assert not recalled["reranked"]
    assert [r["rank"] for r in recalled["results"]] == [r["recall_rank"] for r in recalled["results"]]
    expect(page.get_by_role("button", name="Quick order")).to_have_attribute("aria-pressed", "true")
    wait_for_search(page, lambda: page.get_by_role("button", name="Best order").click())
    expect(page.locator("#scores")).to_be_hidden()
    page.get_by_role("button", name="Details").click()
    expect(page.locator("#scores tbody tr")).to_have_count(48)
    expect(page.locator("#timings")).to_contain_text("rerank")
    expect(page.locator("#timings")).to_contain_text("encode")
    pages: list[str] = []

    def note(route: Route) -> None:
        pages.append((route.request.post_data_buffer or b"").decode("latin-1"))
        route.continue_()

    page.route("**/search", note)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(60)
    assert len(set(shown(page))) == 60, "every photo comes, none twice"
    assert any('name="as_of"' in body for body in pages), "further pages are of the gallery as it was"


def test_filter_by_tag(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Find a tag").fill("tri")
    answer = wait_for_search(page, lambda: page.get_by_role("button", name="triangle 15 photos").click())
    assert {tag for result in answer["results"] for tag in result["tags"]} == {"triangle"}
    assert len(shown(page)) == 15
    wait_for_search(page, lambda: page.get_by_role("button", name="Without the tag triangle").click())
    assert len(shown(page)) >= 48


def test_more_like_this_and_back(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    answer = wait_for_search(page, lambda: draw(page, circle()))
    first = answer["results"][0]["photo_id"]
    page.locator(".card").first.hover()
    page.locator(".card-similar").first.click()
    expect(page.locator("#results-title")).to_contain_text("like this one")
    wait_for_search(page, lambda: page.get_by_role("button", name="Your search").click())
    assert shown(page)[0] == first


def test_by_keyboard_alone(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement?.matches(s) ?? false", selector):
                assert page.evaluate(
                    "() => { const here = document.activeElement;"
                    " const s = getComputedStyle(here.closest('.paper') ?? here);"
                    " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 }"
                ), f"{selector}: focus is not visible"
                return
        raise AssertionError(f"{selector} cannot be reached by Tab")

    tab_to("#canvas")
    page.keyboard.press("Space")
    for key in ["Shift+ArrowRight"] * 3 + ["Shift+ArrowDown"] * 3 + ["Shift+ArrowLeft"] * 3:
        page.keyboard.press(key)
    wait_for_search(page, lambda: page.keyboard.press("Space"))
    assert dark_pixels(page) > 0
    tab_to(".card-open")
    page.keyboard.press("Enter")
    tab_to("#viewer-why")
    page.keyboard.press("Enter")
    expect(page.locator("#pairs button").first).to_be_visible()
    tab_to("#picture-sketch .patch")
    assert lit(page.locator("#picture-photo")) >= 1
    here = page.evaluate("document.activeElement.dataset.patch")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        if page.evaluate("document.activeElement.dataset.patch") != here:
            break
    else:
        raise AssertionError("arrow keys do not move between patches")
    assert lit(page.locator("#picture-photo")) >= 1
    tab_to("#picture-photo .patch")
    assert lit(page.locator("#picture-sketch")) >= 1
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.classList.contains('card-open')"), "focus does not come back"
