"""The page as a person uses it: draw by mouse and by touch, bring a sketch, see results change."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import PHONE, SIZES, WIDE, ZIGZAG, circle, dark_pixels, draw, shown, wait_for_search
from tests.browser.conftest import OpenPage, Site, shape

PHONE_BY_DEFAULT = pytest.mark.parametrize(
    ("width", "height"), [pytest.param(*WIDE, marks=pytest.mark.slow), PHONE], ids=["wide", "phone"]
)


@SIZES
def test_drawing_brings_results_and_another_stroke_changes_them(
    site: Site, open_page: OpenPage, width: int, height: int
) -> None:
    page = open_page(site, width, height, reduced_motion="no-preference")
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


def test_results_are_busy_until_they_are_of_the_whole_drawing(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    # The picture of the whole drawing takes so long to make that what a resting pen has found is shown before.
    page.evaluate(
        "() => { const real = OffscreenCanvas.prototype.convertToBlob; let pictures = 0;"
        " OffscreenCanvas.prototype.convertToBlob = async function (options) {"
        " const blob = await real.call(this, options); pictures += 1; const whole = pictures > 1;"
        " while (whole && !searches.answer) await new Promise(r => setTimeout(r, 20));"
        " if (whole) await new Promise(r => setTimeout(r, 500)); return blob } }"
    )
    box = page.locator("#canvas").bounding_box()
    assert box is not None

    def move(points: list[tuple[float, float]]) -> None:
        for x, y in points:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)

    def draw_with_a_rest() -> None:
        move(ZIGZAG[:1])
        page.mouse.down()
        move(ZIGZAG[1:-1])
        page.wait_for_function("() => searches.started === 1")
        move(ZIGZAG[-1:])
        page.mouse.up()

    answer = wait_for_search(page, draw_with_a_rest)
    assert page.evaluate("searches.started") == 2
    assert shown(page) == [result["photo_id"] for result in answer["results"]]


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
