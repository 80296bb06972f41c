"""The page as a person uses it: draw, see results change, open one, see why, add photos; by mouse and by keys alone."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from index_builder import build_gallery
from model.checkpoints.files import load_checkpoint
from tests.browser.conftest import POLLING, WRITE_KEY, OpenPage, Site, serve, shape

WIDE, PHONE = (1440, 900), (390, 844)
SIZES = pytest.mark.parametrize(("width", "height"), [WIDE, PHONE], ids=["wide", "phone"])
PHONE_BY_DEFAULT = pytest.mark.parametrize(
    ("width", "height"), [pytest.param(*WIDE, marks=pytest.mark.slow), PHONE], ids=["wide", "phone"]
)


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


ZIGZAG = [(0.1, 0.2), (0.9, 0.3), (0.15, 0.5), (0.85, 0.7), (0.2, 0.9)]


def shown(page: Page) -> list[str]:
    """Ids of the photos in the grid, in order."""
    ids: list[str] = page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.photo)")
    return ids


def wait_for_search(page: Page, action: Any) -> dict[str, Any]:
    """Do something that searches; the last answer, once it is shown and no further search follows."""
    before = page.evaluate("searches.started")
    action()
    done = page.evaluate("performance.now()")
    page.wait_for_function(
        "([before, done]) => { const { started, ended, at, answer } = searches;"
        " if (!answer || started === before || started !== ended) return false;"
        " if (performance.now() - Math.max(at, done) < 200) return false;"
        " const cards = [...document.querySelectorAll('.card')].map(card => card.dataset.photo);"
        " const first = answer.results.slice(0, cards.length);"  # those behind the likely ones come on request
        " if (first.length < cards.length || (answer.results.length && !cards.length)) return false;"
        " return first.every(({ photo_id }, i) => cards[i] === photo_id) }",
        arg=[before, done],
        polling=POLLING,
    )
    answer: dict[str, Any] = page.evaluate("searches.answer")
    return answer


def dark_pixels(page: Page) -> int:
    count: int = page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] < 128) n += 1; return n }"
    )
    return count


@SIZES
def test_drawing_brings_results_and_another_stroke_changes_them(
    site: Site, open_page: OpenPage, width: int, height: int
) -> None:
    page = open_page(site, width, height)
    expect(page.get_by_text("60 photos")).to_have_count(2)
    first = wait_for_search(page, lambda: draw(page, circle()))
    assert len(first["results"]) == 48
    assert first["reranked"]
    before = shown(page)
    second = wait_for_search(page, lambda: draw(page, ZIGZAG))
    assert [r["photo_id"] for r in second["results"]] != [r["photo_id"] for r in first["results"]]
    assert shown(page) != before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_undo_redo_and_clear(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    wait_for_search(page, lambda: draw(page, circle()))
    one, one_result = dark_pixels(page), shown(page)
    wait_for_search(page, lambda: draw(page, ZIGZAG))
    two = dark_pixels(page)
    assert two > one > 0
    wait_for_search(page, lambda: page.get_by_role("button", name="Undo").click())
    assert dark_pixels(page) == one
    assert shown(page)[:48] == one_result[:48], "the same sketch finds the same photos"
    wait_for_search(page, lambda: page.keyboard.press("Control+Shift+Z"))
    assert dark_pixels(page) == two
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    assert dark_pixels(page) == 0
    assert shown(page) == []
    wait_for_search(page, lambda: page.keyboard.press("Control+Z"))
    assert dark_pixels(page) == two


def test_eraser_and_line_width(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    thin = dark_pixels(page)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("slider", name="Line width").fill("20")
    wait_for_search(page, lambda: draw(page, circle()))
    thick = dark_pixels(page)
    assert thick > 2 * thin
    page.get_by_role("button", name="Eraser").click()
    expect(page.get_by_role("button", name="Eraser")).to_have_attribute("aria-pressed", "true")
    wait_for_search(page, lambda: draw(page, [(0.1, 0.5), (0.9, 0.5)]))
    assert dark_pixels(page) < thick


def test_a_slow_answer_never_replaces_a_newer_one(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    # The first search is answered late and wrongly, whether or not the page has given it up.
    page.evaluate(
        "() => { const real = window.fetch; let first = true; window.fetch = async (url, options) => {"
        " if (!first || !String(url).endsWith('/search')) return real(url, options);"
        " first = false; window.aborted = new Promise(r => options.signal.addEventListener('abort', r));"
        " const answer = await (await real(url, {...options, signal: undefined})).json();"
        " await new Promise(r => setTimeout(r, 1200)); answer.results.reverse(); window.late = true;"
        " return new Response(JSON.stringify(answer), {headers: {'Content-Type': 'application/json'}}) } }"
    )
    draw(page, circle())
    page.wait_for_timeout(150)
    page.wait_for_function("() => window.aborted !== undefined")
    answer = wait_for_search(page, lambda: draw(page, ZIGZAG))
    page.evaluate("() => window.aborted")
    page.wait_for_function("() => window.late")
    page.wait_for_timeout(200)
    assert shown(page)[:48] == [result["photo_id"] for result in answer["results"]]


def test_a_drawing_that_is_gone_before_it_is_a_picture_brings_no_results(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.evaluate(
        "() => { const real = OffscreenCanvas.prototype.convertToBlob;"
        " OffscreenCanvas.prototype.convertToBlob = async function (options) {"
        " const blob = await real.call(this, options); window.waits = true;"
        " await new Promise(r => setTimeout(r, 800)); window.made = true; return blob } }"
    )
    draw(page, ZIGZAG)
    page.wait_for_function("() => window.waits")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    page.wait_for_function("() => window.made")
    page.wait_for_timeout(100)
    assert page.evaluate("searches.started") == 0


def test_upload_paste_and_drop_of_a_sketch(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)
    file = tmp_path / "sketch.png"
    shape(0).convert("L").save(file)
    wait_for_search(page, lambda: page.locator("#sketch-file").set_input_files(file))
    uploaded = dark_pixels(page)
    assert uploaded > 0
    page.get_by_role("button", name="Clear").click()
    bring = """async (kind) => {
      const canvas = new OffscreenCanvas(100, 100), pen = canvas.getContext('2d');
      pen.fillStyle = 'white'; pen.fillRect(0, 0, 100, 100);
      pen.fillStyle = 'black'; pen.fillRect(20, 20, 60, 60);
      const file = new File([await canvas.convertToBlob()], 'box.png', {type: 'image/png'});
      const data = new DataTransfer(); data.items.add(file);
      if (kind === 'paste') document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
      else for (const name of ['dragenter', 'dragover', 'drop'])
        document.getElementById('canvas').dispatchEvent(new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""  # noqa: E501
    for kind in ("paste", "drop"):
        wait_for_search(page, lambda kind=kind: page.evaluate(bring, kind))
        assert dark_pixels(page) > 0
        page.get_by_role("button", name="Clear").click()
        expect(page.locator(".card")).to_have_count(0)


def test_a_file_that_is_no_picture_is_refused_in_words(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)
    file = tmp_path / "words.png"
    file.write_text("no picture")
    page.locator("#sketch-file").set_input_files(file)
    expect(page.locator(".toast")).to_contain_text("cannot be read as a picture")


def lit(side: Locator) -> int:
    return side.locator(".patch.on").count()


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


def test_colours_follow_the_system_and_the_button(site: Site, open_page: OpenPage) -> None:
    page = open_page(site, color_scheme="dark")
    background = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Colours: as the system").click()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light, "the choice is kept"


@PHONE_BY_DEFAULT
def test_touch_draws_and_does_not_scroll(site: Site, open_page: OpenPage, width: int, height: int) -> None:
    page = open_page(site, width, height, has_touch=True)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)

    def touch() -> None:
        for kind, x, y in (("touchStart", 0.3, 0.3), ("touchMove", 0.5, 0.7), ("touchMove", 0.7, 0.3)):
            point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    wait_for_search(page, touch)
    assert dark_pixels(page) > 0
    assert page.evaluate("scrollY") == 0


def print_times(page: Page, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Draw three strokes and print how long a person waits; not asserted, as it depends on the machine."""
    for number in range(3):
        wait_for_search(page, lambda number=number: draw(page, circle(0.1 + 0.03 * number)))
        page.wait_for_timeout(100)
    times = page.evaluate("performance.getEntriesByName('pen-up-to-results').map(entry => entry.duration)")
    assert len(times) == 3
    with capsys.disabled():
        print(  # noqa: T201 - for whoever reads the test's output
            f"\n[page] pen up to new results, {what}: median {statistics.median(times):.0f} ms, "
            f"worst {max(times):.0f} ms of {len(times)}"
        )


def test_time_from_pen_up_to_results(site: Site, open_page: OpenPage, capsys: pytest.CaptureFixture[str]) -> None:
    print_times(open_page(site), "60 photos, tiny network", capsys)


def test_time_from_pen_up_on_the_sample_gallery(
    sample_site: Site, open_page: OpenPage, capsys: pytest.CaptureFixture[str]
) -> None:
    print_times(open_page(sample_site), "sample gallery, bundled checkpoint", capsys)
