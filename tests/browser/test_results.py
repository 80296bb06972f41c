"""The results: where the likely ones end, more of them in place, too little ink, keys, and several selected."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.actions import ZIGZAG, circle, draw, shown, wait_for_search
from tests.browser.conftest import WRITE_KEY, OpenPage, Site

PLACES = "cards => cards.map((card) => [card.dataset.photo, card.offsetLeft, card.offsetTop, card.offsetWidth])"


def say_likely(page: Page, count: int, **more: Any) -> None:
    """Let every search answer that so many of its results are likely."""

    def handle(route: Route) -> None:
        answer = route.fetch().json()
        for result in answer["results"]:
            result["likely"] = result["rank"] <= count
        route.fulfill(json={**answer, **more})

    page.route("**/search", handle)


def refuse(page: Page, code: str, status: int = 422, having: str = "") -> None:
    """Refuse every search whose body has this text."""

    def handle(route: Route) -> None:
        if having not in (route.request.post_data_buffer or b"").decode("latin-1"):
            return route.fallback()
        said = {"type": "about:blank", "title": "Unprocessable Entity", "status": status, "code": code, "detail": "No."}
        return route.fulfill(status=status, json=said)

    page.route("**/search", handle)


def test_results_end_behind_the_likely_ones_and_more_come_in_place(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    say_likely(page, 15)
    draw(page, circle())
    expect(page.locator(".card")).to_have_count(27)
    expect(page.get_by_role("list", name="Likely results", exact=True).locator(".card")).to_have_count(15)
    expect(page.locator(".seam")).to_have_text("Less likely from here")
    expect(page.locator("#results-note")).to_have_text("15 likely, 27 of 60 photos shown")
    assert page.locator(".card").first.inner_text() == "", "cards carry no numbers"
    page.locator("#more").scroll_into_view_if_needed()
    page.mouse.wheel(0, 4000)
    page.wait_for_timeout(600)
    before = page.locator(".card").evaluate_all(PLACES)
    assert len(before) == 27, "nobody asked for more"
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(60)
    page.wait_for_timeout(400)
    assert page.locator(".card").evaluate_all(PLACES)[:27] == before, "what is shown stays where it is"
    assert page.evaluate("document.activeElement.closest('.card').dataset.photo") == shown(page)[27]
    expect(page.locator("#more-note")).to_have_text("All 60 photos shown.")
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.unroute("**/search")
    say_likely(page, 0)
    draw(page, ZIGZAG)
    expect(page.locator(".seam")).to_contain_text("Nothing here is a likely match")
    expect(page.locator(".card")).to_have_count(24)


def test_too_little_ink_gets_a_hint_and_results_only_on_request(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    draw(page, [(0.2, 0.2), (0.7, 0.3)])
    expect(page.get_by_role("heading", name="A little more, please")).to_be_visible()
    expect(page.locator(".card")).to_have_count(0)
    wait_for_search(page, lambda: page.get_by_role("button", name="Search anyway").click())
    assert len(shown(page)) == 48
    wait_for_search(page, lambda: draw(page, circle()))
    expect(page.get_by_role("heading", name="A little more, please")).to_have_count(0)
    page.get_by_role("button", name="Filters").click()
    wait_for_search(page, lambda: page.get_by_role("button", name="triangle 15 photos").click())
    refuse(page, "blank_sketch")
    draw(page, ZIGZAG)
    expect(page.get_by_role("heading", name="Nothing can be seen in this picture")).to_be_visible()
    expect(page.get_by_role("button", name="Without the tag triangle")).to_be_visible()
    assert "tag=triangle" in page.url, "filters stay"
    page.unroute("**/search")
    refuse(page, "candidates_below_top_k")
    draw(page, circle())
    expect(page.locator(".problem h3")).to_have_text("This cannot be searched with")
    site.console.clear()  # the browser itself reports the refused requests


def test_opinions_of_photos_that_are_gone_are_dropped(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    there, gone = shown(page)[0], "a" * 26
    link = page.url + f"&like={there}&unlike={gone}"
    other = open_page(site, link=link)
    expect(other.locator(".toast")).to_contain_text("no longer there")
    expect(other.locator("#judged .chip")).to_have_count(1)
    expect(other.locator(".card").first).to_have_attribute("data-photo", there)
    assert gone not in other.url
    site.console.clear()  # the browser itself reports the refused requests


def deletions(page: Page, *, gone: int = 0) -> list[str]:
    """Ids of photos that the page deletes with the key; nothing is, and the first are said to be `gone` already."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        if route.request.method != "DELETE":
            route.fallback()
            return
        assert route.request.headers["authorization"] == f"Bearer {WRITE_KEY}"
        asked.append(route.request.url.rsplit("/", 1)[1])
        if len(asked) > gone:
            route.fulfill(status=204)
            return
        problem = {"type": "about:blank", "title": "Not Found", "status": 404, "code": "unknown_photo", "detail": "No."}
        route.fulfill(status=404, json=problem)

    page.route("**/photos/*", answer)
    return asked


def here(page: Page) -> int:
    """Place of the card that has the focus."""
    photo = page.evaluate("document.activeElement.closest('.card')?.dataset.photo")
    return shown(page).index(photo)


def test_one_tab_stop_arrow_keys_links_and_several_selected(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    assert page.locator(".card-open[tabindex='0']").count() == 1
    link = page.locator(".card-open").first
    assert page.request.get(link.get_attribute("href") or "").ok, "a card is a link to its photo"
    link.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert here(page) == 2
    assert page.locator(".card-open[tabindex='0']").count() == 1
    top = page.evaluate("document.activeElement.closest('.card').offsetTop")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.card').offsetTop") > top
    page.keyboard.press("ArrowUp")
    assert here(page) == 2
    page.keyboard.press("End")
    assert here(page) == 47
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.locator(".card-select").nth(2).click(modifiers=["Shift"])
    expect(page.locator("#selection-count")).to_have_text("3 photos selected")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    archive = zipfile.ZipFile(io.BytesIO(downloading.value.path().read_bytes()))
    assert len(archive.namelist()) == 3
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy paths").click()
    expect(page.locator(".toast")).to_contain_text("Copied 3 paths")
    assert len(page.evaluate("navigator.clipboard.readText()").splitlines()) == 3
    deleted = deletions(page)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_label("Key", exact=True).fill(WRITE_KEY)
    page.get_by_role("button", name="Delete the files").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert deleted == shown(page)[:3]
    expect(page.locator("#selection")).to_be_hidden()


def test_a_result_dragged_onto_the_paper_is_what_is_wanted(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    fetched = list[str]()
    page.on("request", lambda request: fetched.append(request.url) if request.resource_type == "fetch" else None)
    carried = page.evaluate(
        """() => {
          const data = new DataTransfer();
          const how = { dataTransfer: data, bubbles: true, cancelable: true };
          const fire = (at, type) => at.dispatchEvent(new DragEvent(type, how));
          fire(document.querySelectorAll('.card-open')[1], 'dragstart');
          for (const type of ['dragenter', 'dragover', 'drop']) fire(document.getElementById('paper'), type);
          return data.getData('text/uri-list');
        }"""
    )
    assert "/photos/" in carried
    expect(page.get_by_text("Looks like this photo")).to_be_visible()
    assert any(url.endswith("?redirect=false") for url in fetched), "a redirect into a bucket cannot be fetched"
    page.get_by_role("button", name="Details").click()
    expect(page.locator("#scores tbody tr")).to_have_count(48)
    expect(page.locator("#scores thead")).to_contain_text("Recall")


def test_a_change_of_the_gallery_leaves_what_is_shown_and_selected(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    page.route("**/gallery/events", lambda route: route.abort())  # the page asks instead, when it is told to here
    wait_for_search(page, lambda: draw(page, circle()))
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(60)
    page.locator(".card-open").nth(55).focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+Space")
    expect(page.locator("#selection-count")).to_have_text("3 photos selected")
    place = page.evaluate("scrollY")
    searches = page.evaluate("searches.started")

    def another(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "version": "another"})

    page.route("**/gallery", another)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".toast")).to_contain_text("The gallery now holds")
    expect(page.locator(".card.selected")).to_have_count(3)
    assert page.evaluate("searches.started") == searches, "results stay while some are selected"
    wait_for_search(page, lambda: page.get_by_role("button", name="Select none").click())
    expect(page.locator(".card")).to_have_count(60)
    assert abs(page.evaluate("scrollY") - place) < 5
    assert here(page) == 53, "the focus stays as well"
    site.console.clear()  # the browser itself reports the stream that was cut


def test_delete_means_the_selected_photos_and_goes_on_where_one_is_gone(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    first = page.locator(".card-open").first
    first.focus()
    page.keyboard.press("Delete")
    expect(page.locator(".card")).to_have_count(48)
    expect(page.locator("#clear")).to_be_enabled()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Space")
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Delete 2 photos?")
    expect(page.locator("#deletion-key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#deletion-problem")).to_have_text(
        "This is not the write key. Check it with whoever runs the service."
    )
    assert page.evaluate("sessionStorage.length") == 0, "a key that failed is not kept"
    tried = deletions(page, gone=1)
    page.locator("#deletion-key").fill(WRITE_KEY)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert tried == shown(page)[:2]
    expect(page.locator(".toast")).to_have_text("Deleted 2 photos.")
    assert here(page) == 1, "the focus stays among the results"
    site.console.clear()  # the browser itself reports the refused requests


def test_a_late_nothing_and_a_late_gallery(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    link = page.url
    # Nothing is found, and before the gallery says why, other results come.
    page.evaluate("window.real = fetch; window.held = []")
    page.evaluate(
        """() => { window.fetch = async (url, options) => {
          if (String(url).endsWith('/gallery')) await new Promise((resolve) => held.push(resolve));
          const response = await real(url, options);
          if (!String(url).endsWith('/search') || window.some) return response;
          return Response.json({ ...(await response.json()), results: [] });
        }; }"""
    )
    draw(page, ZIGZAG)
    page.wait_for_function("() => held.length > 0")
    expect(page.locator(".card")).to_have_count(0)
    page.evaluate("window.some = true")
    draw(page, circle(0.2))
    expect(page.locator(".card")).to_have_count(48)
    page.evaluate("held.forEach((go) => go())")
    page.wait_for_timeout(300)
    expect(page.locator("#state")).to_be_empty()
    expect(page.locator(".card")).to_have_count(48)
    # A link is opened while the service gets ready: the search is answered, and the gallery is known later.
    page.add_init_script(
        """const real = window.fetch;
        window.asked = 0;
        window.fetch = (url, options) =>
          String(url).endsWith('/gallery') && (window.asked += 1) === 1
            ? Promise.resolve(Response.json({ code: 'not_ready' }, { status: 503, headers: { 'Retry-After': '1' } }))
            : real(url, options);"""
    )
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator(".card")).to_have_count(48)
    expect(page.locator("#gallery-status")).to_have_text("60 photos", timeout=10_000)
    expect(page.locator("#state")).to_be_empty()
    expect(page.locator("#results-note")).to_have_text("48 of 60 photos")
    site.console.clear()  # the browser itself reports the refused request
