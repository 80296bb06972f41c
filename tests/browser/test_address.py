"""The query lives in the page's address: Back, Forward, reload and a sent link bring it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.actions import ZIGZAG, circle, draw, shown, wait_for_search
from tests.browser.conftest import POLLING, OpenPage, Site, shape
from tests.browser.test_drawing import seen


def arrive(page: Page, cards: list[str]) -> None:
    """Wait until these photos are shown first."""
    page.wait_for_function(
        "cards => { const shown = [...document.querySelectorAll('.card')].map(card => card.dataset.photo);"
        " return shown.length === cards.length && cards.every((card, i) => card === shown[i]) }",
        arg=cards,
        polling=POLLING,
    )


def choose_tag(page: Page, tag: str) -> None:
    page.get_by_role("button", name="Filters").click()
    wait_for_search(page, lambda: page.get_by_role("button", name=f"{tag} 15 photos").click())


def test_back_forward_reload_and_a_sent_link(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    first, first_paper = shown(page), seen(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    wait_for_search(page, lambda: draw(page, ZIGZAG))
    wait_for_search(page, lambda: draw(page, circle(0.1)))
    choose_tag(page, "triangle")
    wait_for_search(page, lambda: page.get_by_role("button", name="Quick order").click())
    last, last_paper = shown(page), seen(page)
    page.locator(".card").first.hover()
    page.locator(".card-similar").first.click()
    expect(page.locator("#results-title")).to_contain_text("like this one")

    page.go_back()
    arrive(page, last)
    expect(page.locator("#results-title")).to_have_text("Results")
    page.go_back()
    expect(page.locator("#filter-chosen .chip")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    page.go_back()
    arrive(page, first)
    assert (seen(page) == first_paper).all()
    for _ in range(3):
        page.go_forward()
    arrive(page, last)
    expect(page.locator("#filter-chosen .chip")).to_have_text("triangle")
    expect(page.get_by_role("button", name="Quick order")).to_have_attribute("aria-pressed", "true")
    assert (seen(page) == last_paper).all()
    page.reload()
    arrive(page, last)
    assert (seen(page) == last_paper).all()

    sent = open_page(site, link=page.url)
    arrive(sent, last)
    assert (seen(sent) == last_paper).all()
    expect(sent.locator("#filter-chosen .chip")).to_have_text("triangle")


def test_back_closes_an_open_photo_and_leaves_the_search(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, ZIGZAG))
    page.get_by_role("button", name="Clear").click()
    wait_for_search(page, lambda: draw(page, circle()))
    cards, length = shown(page), page.evaluate("history.length")
    viewer = page.locator("#viewer")

    page.locator(".card-open").nth(1).click()
    page.keyboard.press("ArrowRight")
    page.go_back()
    expect(viewer).to_be_hidden()
    assert shown(page) == cards
    assert page.evaluate("document.activeElement.closest('.card').dataset.photo") == cards[2]

    page.locator(".card-open").first.click()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    page.wait_for_function("() => history.state === null")
    assert page.evaluate("history.length") == length + 1, "closed by itself, it is no step for Back"

    page.locator(".card-open").first.click()
    wait_for_search(page, lambda: page.locator("#viewer .judge[data-verdict=like]").click())
    refined = shown(page)
    page.go_back()
    expect(viewer).to_be_hidden()
    expect(page.locator("#judged")).to_be_visible()
    assert shown(page) == refined

    page.locator(".card-open").nth(3).click()
    wait_for_search(page, lambda: page.locator("#viewer-similar").click())
    page.go_back()
    arrive(page, refined)
    page.go_back()
    arrive(page, cards)


def test_tags_go_with_the_drawing(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    wait_for_search(page, lambda: draw(page, circle()))
    choose_tag(page, "triangle")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
    assert "#" not in page.url
    answer = wait_for_search(page, lambda: draw(page, circle()))
    assert len({tag for result in answer["results"] for tag in result["tags"]}) == 4
    expect(page.locator("#filter-chosen .chip")).to_have_count(0)


def test_an_uploaded_picture_is_kept_in_this_tab_alone(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(site)
    file = tmp_path / "sketch.png"
    shape(0).resize((1400, 1400)).save(file)
    wait_for_search(page, lambda: page.locator("#sketch-file").set_input_files(file))
    expect(page.get_by_text("A link sent to others cannot carry it.")).to_be_visible()
    cards, paper = shown(page), seen(page)
    assert len(page.url) < 100
    page.reload()
    arrive(page, cards)
    assert (seen(page) == paper).all()
    sent = open_page(site, link=page.url)
    expect(sent.locator(".toast")).to_contain_text("a link cannot carry it")
    expect(sent.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()


def test_what_is_too_long_for_a_link_stays_in_this_tab_and_damage_is_told(site: Site, open_page: OpenPage) -> None:
    page = open_page(site)
    scribble = """async () => {
      const { pack, unpack } = await import('./js/packing.js');
      const { strokeOf } = await import('./js/history.js');
      const random = (n) => Math.floor(Math.random() * n);
      const points = (n, width) => Array.from({length: n}, () => ({x: random(600) - 40, y: random(600), width: width()}));
      const strokes = [strokeOf(points(9, () => 6)), strokeOf(points(7, () => random(40)), true), strokeOf(points(1, () => 3))];
      const same = JSON.stringify(unpack(pack(strokes))) === JSON.stringify(strokes);
      const broken = ['AQ', 'ARQM', '%%', 'AgAA', pack(strokes).slice(0, -4)].map(unpack);
      return {same, broken, long: pack([strokeOf(points(4000, () => 6))])};
    }"""  # noqa: E501
    packed = page.evaluate(scribble)
    assert packed["same"], "packing loses something"
    assert packed["broken"] == [[], None, None, None, None]

    page.goto(f"{site.url}#sketch={packed['long']}")
    page.reload()
    page.wait_for_function("() => location.hash.startsWith('#drawing=')")
    paper = seen(page)
    assert np.mean(paper > 0.5) > 0.05
    page.reload()
    expect(page.locator(".card, #state h3").first).to_be_visible()  # hardly a drawing, but it was searched with
    assert (seen(page) == paper).all()
    sent = open_page(site, link=page.url)
    expect(sent.locator(".toast")).to_contain_text("too large for a link")
    damaged = open_page(site, link=f"{site.url}#sketch=AQoM5g&tag=box")
    expect(damaged.locator(".toast")).to_contain_text("damaged")
    expect(damaged.get_by_role("heading", name="Draw it, find the photo")).to_be_visible()
