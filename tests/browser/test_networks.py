"""The page over a network that weighs a photo's parts without matching them: it says so, and shows what there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from index_builder import BuildOptions, build_gallery
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.registry import build_network, preset
from tests.browser.actions import circle, draw, wait_for_search
from tests.browser.conftest import WRITE_KEY, OpenPage, Site, _fill, serve


@pytest.fixture(scope="module")
def unmatched_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place: Path = tmp_path_factory.mktemp("unmatched")
    _fill(place / "photos", 8)
    save_checkpoint(build_network(preset("crossatnet-tiny"), seed=0), place / "tiny.safetensors")
    network = load_checkpoint(place / "tiny.safetensors", "cpu", "float32")
    build_gallery(place / "photos", place / "gallery", network, options=BuildOptions(workers=1))
    served = serve(
        place / "gallery", photos=place / "photos", checkpoint=place / "tiny.safetensors", write_key=WRITE_KEY
    )
    with served as url:
        yield Site(url)


def test_a_result_says_that_there_are_no_matches_and_shows_where_the_network_looked(
    unmatched_site: Site, open_page: OpenPage
) -> None:
    page = open_page(unmatched_site, 1440, 900)
    wait_for_search(page, lambda: draw(page, circle()))
    page.locator(".card").first.click()
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#match-help")).to_contain_text("without matching them")
    expect(page.locator("#synthesis-kind button:visible")).to_have_count(1)
    expect(page.locator("#synthesis-kind button[data-kind=attention]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#picture-synthesis img")).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#pairs li")).to_have_count(0)
    expect(page.locator("#match-help")).not_to_have_class("problem")
