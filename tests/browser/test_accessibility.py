"""axe-core finds no violation in any state of the page, in light and dark, wide and on a phone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import PHONE, WIDE, circle, draw, wait_for_search
from tests.browser.conftest import OpenPage, Site

AXE = "axe-core@4.14.1"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The source of axe-core, from the file that SKETCHSEEK_TEST_AXE names or fetched by npm; none of it is kept."""
    named = os.environ.get("SKETCHSEEK_TEST_AXE")
    if named:
        yield Path(named).read_text()
        return
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NO NPM ON THIS MACHINE: ACCESSIBILITY WAS NOT TESTED BY AXE-CORE")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, check=False, timeout=90)
    if fetched.returncode != 0:
        pytest.skip("NPM CANNOT FETCH AXE-CORE: ACCESSIBILITY WAS NOT TESTED BY AXE-CORE")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        yield member.read().decode()


def violations(page: Page, axe: str) -> list[str]:
    """What axe finds, one line each; it is injected past the page's own policy, which allows no such script."""
    page.evaluate(axe)
    page.wait_for_timeout(100)
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules}).then(r => r.violations.map(v =>"
        " `${v.id}: ${v.help}: ${v.nodes.map(n => n.html.slice(0, 120) + ' ' + n.failureSummary).join(' | ')}`))",
        RULES,
    )
    return list(found)


@pytest.mark.parametrize(
    ("size", "scheme"),
    [(WIDE, "light"), pytest.param(PHONE, "dark", marks=pytest.mark.slow)],
    ids=["wide-light", "phone-dark"],
)
def test_axe_finds_nothing(site: Site, open_page: OpenPage, axe: str, size: tuple[int, int], scheme: str) -> None:
    page = open_page(site, *size, color_scheme=scheme)
    expect(page.locator(".doodle").first).to_be_visible()
    assert violations(page, axe) == [], "at the start"
    wait_for_search(page, lambda: draw(page, circle()))
    page.get_by_role("button", name="Details").click()
    page.get_by_role("button", name="Filters").click()
    page.locator("#filter-tags .chip").first.click()
    expect(page.locator("#filter-chosen .chip")).to_have_count(1)
    assert violations(page, axe) == [], "with results, details and tags"
    page.locator(".card-open").first.click()
    page.wait_for_function("() => document.querySelector('#picture-photo img').naturalWidth > 0")
    assert violations(page, axe) == [], "in a result"
    page.get_by_role("button", name="Why?").click()
    page.locator("#viewer-more").click()
    expect(page.locator("#pairs button").first).to_be_visible()
    page.wait_for_function("() => document.querySelector('#picture-synthesis img').naturalWidth > 0")
    assert violations(page, axe) == [], "in a result with its reasons and details"
    page.locator("#picture-sketch .patch").first.hover()
    assert violations(page, axe) == [], "with a correspondence lit"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Add photos").click()
    assert violations(page, axe) == [], "while adding photos"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert violations(page, axe) == [], "with the sheet of keys"
    page.keyboard.press("Escape")
    page.route("**/search", lambda route: route.abort())
    draw(page, circle(0.1))
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page, axe) == [], "without a service"
    page.unroute("**/search")
    site.console.clear()
