"""A result opened large: turned by keys and swipes, zoomed, explained in words, and with all it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.actions import PHONE, circle, draw, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site, shape


def scale(page: Page) -> float:
    """How many times larger the photo is than where it fits."""
    value = page.evaluate("new DOMMatrix(getComputedStyle(document.getElementById('picture-photo')).transform).a")
    return float(value)


def touch(page: Page, *steps: list[tuple[float, float]]) -> None:
    """Fingers on the stage: each step has a place for every finger, as shares of the stage."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    for number, fingers in enumerate(steps):
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in fingers]
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def photo_is_at_rest(page: Page) -> bool:
    return bool(page.locator("#picture-photo").evaluate("frame => frame.style.transform === ''"))


def test_keys_turn_and_zoom_the_photo(site: Site, open_page: OpenPage) -> None:
    page = open_page(site, permissions=["clipboard-read", "clipboard-write"])
    answer = wait_for_search(page, lambda: draw(page, circle()))
    assert len(answer["results"]) == 48
    last = answer["results"][-1]
    page.locator(".card-open").last.evaluate("card => card.click()")  # without scrolling, which would load more
    place, photo = page.locator("#viewer-place"), page.locator("#picture-photo")
    expect(place).to_contain_text("48 of 48")
    box = photo.bounding_box()
    assert box is not None
    assert box["width"] == 4 * last["width"], "a small photo, as large as it is still sharp"
    page.keyboard.press("ArrowRight")
    expect(place).to_contain_text("49 of 60")
    page.keyboard.press("ArrowLeft")
    expect(place).to_contain_text("48 of 60")
    expect(page.locator("#viewer-title")).to_have_text(last["tags"][-1])

    page.keyboard.press("+")
    assert scale(page) == 1.5
    page.mouse.move(720, 420)
    page.mouse.wheel(0, -600)
    page.wait_for_function("() => new DOMMatrix(document.getElementById('picture-photo').style.transform).a > 4")
    page.keyboard.press("ArrowRight")
    expect(place).to_contain_text("48 of 60")
    page.keyboard.press("0")
    assert scale(page) == 1
    page.locator("#stage").dblclick()
    assert scale(page) == 2.5
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => document.fullscreenElement?.id === 'stage'")
    page.keyboard.press("Shift+F")
    page.wait_for_function("() => document.fullscreenElement === null")

    page.locator("#viewer-more").click()
    expect(page.locator("#viewer-path")).to_have_text(last["path"])
    page.get_by_role("button", name="Copy the path").click()
    expect(page.locator(".toast")).to_have_text("The path is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == last["path"]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the original").click()
    assert download.value.suggested_filename == last["path"].split("/")[-1]
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("document.activeElement.closest('.card').dataset.photo") == last["photo_id"]


def test_fingers_turn_and_zoom_the_photo(site: Site, open_page: OpenPage) -> None:
    page = open_page(site, *PHONE, has_touch=True)
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card-open").first.click()
    place = page.locator("#viewer-place")
    expect(place).to_contain_text("1 of 48")
    box = page.locator("#picture-photo").bounding_box()
    assert box is not None
    assert box["width"] == PHONE[0], "the photo has the full width"
    touch(page, [(0.8, 0.5)], [(0.5, 0.5)], [(0.2, 0.5)])
    expect(place).to_contain_text("2 of 48")
    touch(page, [(0.2, 0.5)], [(0.5, 0.5)], [(0.8, 0.5)])
    expect(place).to_contain_text("1 of 48")
    touch(page, [(0.5, 0.2)], [(0.5, 0.8)])
    expect(place).to_contain_text("1 of 48")
    touch(page, [(0.8, 0.5)], [(0.8, 0.5), (0.15, 0.5)], [(0.65, 0.5), (0.3, 0.5)], [(0.65, 0.5)], [(0.2, 0.5)])
    expect(place).to_contain_text("1 of 48")
    assert photo_is_at_rest(page), "what is left of a pinch neither turns the page nor pulls at the photo"
    touch(page, [(0.4, 0.5), (0.6, 0.5)], [(0.3, 0.5), (0.7, 0.5)], [(0.2, 0.5), (0.8, 0.5)])
    assert 2.5 < scale(page) < 3.5
    touch(page, [(0.8, 0.5)], [(0.2, 0.5)])
    expect(place).to_contain_text("1 of 48")
    for _ in range(2):
        touch(page, [(0.5, 0.5)])
    assert scale(page) == 1


def test_the_viewer_finds_words_for_photos_reasons_and_matches(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)

    def reason(contributions: dict[str, float], **query: Any) -> str:
        said = page.evaluate(
            "async ([contributions, query]) => { const { partNames, reason } = await import('./js/viewer/reasons.js');"
            " return reason(contributions, partNames(query)) }",
            [contributions, query],
        )
        return str(said)

    assert reason({"sketch": 0.3}) == "This photo is like your drawing."
    assert reason({"sketch": 0.3, "text": 0.28}, text="red chair") == (
        "This photo is like your drawing and the words “red chair”, about equally."
    )
    assert reason({"sketch": 0.05, "text": 0.3, "expansion": 0.2, "unlike": -0.1}, text="cat") == (
        "This photo is like the words “cat” above all, and a little like your drawing. "
        "It also resembles the best results, which helps. "
        "That it is like the photos you want less of counts against it."
    )
    assert reason({"like": 0.4}, similar={}) == "This photo is like the photo you chose."
    assert reason({}) == ""

    names = page.evaluate(
        "async photos => { const { nameOf } = await import('./js/names.js');"
        " return photos.map(([path, ...tags]) => nameOf({ path, tags })) }",
        [
            ["sky/umbrella.webp", "sky"],
            ["bee/n02206856_1089.jpg", "bee"],
            ["pets/ceiling_fan/2024/IMG_1.JPG", "pets", "ceiling_fan", "2024"],
            ["IMG_2033.jpg"],
            ["a.jpg", "animals"],
        ],
    )
    assert names == ["umbrella", "bee", "ceiling fan", "IMG 2033", "animals"]

    file = tmp_path / "photo.png"
    shape(1).save(file)
    wait_for_search(page, lambda: page.locator("#wanted-file").set_input_files(file))
    page.route("**/explain", lambda route: route.fulfill(json={**route.fetch().json(), "correspondences": []}))
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card-open").first.click()
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why-words")).to_contain_text("the photo you gave")
    expect(page.locator("#why-words")).to_contain_text("your drawing")
    expect(page.locator("#match-help")).to_contain_text("No single part of your drawing clearly matches")
    expect(page.locator("#pairs")).to_be_hidden()
    expect(page.locator("#viewer .patch")).to_have_count(0)
    page.unroute_all(behavior="ignoreErrors")


def test_more_like_this_is_a_query_with_filters_and_opinions_of_its_own(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    page.get_by_role("button", name="Filters").click()
    wait_for_search(page, lambda: page.get_by_role("button", name="triangle 15 photos").click())
    page.get_by_role("button", name="Filters").click()
    first, second, third, *_ = shown(page)
    judge = page.locator(f'.card[data-photo="{second}"] [data-verdict=unlike]')
    wait_for_search(page, lambda: judge.evaluate("button => button.click()"))
    drawn = shown(page)
    page.locator(f'.card[data-photo="{first}"] .card-open').click()
    answer = wait_for_search(page, lambda: page.locator("#viewer-similar").click())
    assert answer["parts"] == {"like": 1}
    assert {tag for result in answer["results"] for tag in result["tags"]} == {"triangle"}
    expect(page.locator("#filter-chosen .chip")).to_have_text("triangle")
    expect(page.locator("#judged")).to_be_hidden()
    assert shown(page)[0] == first
    page.locator(f'.card[data-photo="{third}"] .card-open').click()
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why-words")).to_have_text("This photo is like the photo you chose.")
    expect(page.locator("#why-sketch")).to_be_hidden()
    answer = wait_for_search(page, lambda: page.locator("#viewer .judge[data-verdict=unlike]").click())
    assert sorted(answer["parts"]) == ["like", "unlike"]
    page.keyboard.press("Escape")
    assert third not in shown(page)
    wait_for_search(page, lambda: page.get_by_role("button", name="Your search").click())
    assert shown(page) == drawn, "with the opinions that it had"


def test_photos_that_are_alike_are_one_card(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.evaluate("window.collapsing = true")
    answer = wait_for_search(page, lambda: draw(page, circle()))
    alike = next(result for result in answer["results"] if result["duplicates"])
    card = page.locator(f'.card[data-photo="{alike["photo_id"]}"]')
    expect(card.locator(".card-count")).to_have_text(f"{alike['count']} alike")
    expect(card.locator(".card-open")).to_have_attribute(
        "aria-label", f"{alike['rank']}. {alike['tags'][-1]}, {alike['count']} alike"
    )
    hidden = sum(len(result["duplicates"]) for result in answer["results"])
    expect(page.locator("#results-note")).to_have_text(f"{len(answer['results']) + hidden} of 60 photos")
    card.locator(".card-select").click()
    expect(page.locator("#selection-count")).to_have_text(
        f"1 photo selected, {alike['count'] - 1} near-identical left out"
    )
    card.locator(".card-select").click()
    card.locator(".card-open").click()
    expect(page.locator("#alike-title")).to_have_text(f"{alike['count']} alike")
    page.locator("#viewer-more").click()
    other = alike["duplicates"][0]
    page.get_by_role("button", name=f"2 of {alike['count']} alike: {other['path']}").click()
    expect(page.locator("#viewer-path")).to_have_text(other["path"])
    assert page.locator("#picture-photo img").evaluate("image => image.src").endswith(other["photo_id"])
    expect(page.locator("#alike-list [aria-pressed=true]")).to_be_focused()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('.card').dataset.photo") == alike["photo_id"]
