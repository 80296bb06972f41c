"""One table of formats: what is indexed can be served, and the page takes the same files."""

import re

import pytest
from PIL import Image

from model.images.formats.endings import ENDING_OF, ENDINGS, KNOWN, media_type_of
from model.images.opening import FORMATS
from tests.paths import ROOT

Image.init()


def test_formats_that_are_read_are_in_the_table():
    assert {one.name for one in KNOWN} - set(FORMATS) <= {"HEIF", "RAW", "JXL"}
    assert set(FORMATS) <= {one.name for one in KNOWN}


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_every_ending_has_a_media_type_and_is_pillows(ending):
    assert media_type_of(f"a.b{ending.upper()}").startswith("image/")
    name = next(one.name for one in KNOWN if ending in one.endings)
    if name in FORMATS and name not in ("RAW", "JXL"):
        pillows = {"DIB": "BMP", "MPO": "JPEG"}  # a bitmap without its file header, a JPEG with more pictures behind it
        assert pillows.get(Image.EXTENSION[ending], Image.EXTENSION[ending]) == name


def test_what_is_no_picture_is_not_served_as_one():
    assert media_type_of("page.html") == media_type_of("jpg") == "application/octet-stream"


def test_uploads_get_the_first_ending():
    assert (ENDING_OF["JPEG"], ENDING_OF["TIFF"], ENDING_OF["HEIF"]) == (".jpg", ".tif", ".heic")


def test_the_page_takes_files_of_every_ending():
    pattern = re.search(r"/\\\.\((.+?)\)\$/i", (ROOT / "app" / "web" / "js" / "intake.js").read_text())
    assert pattern
    assert all(re.fullmatch(pattern[1], ending[1:]) for ending in ENDINGS)


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("IMG_1.jpg", "HEIF", "image/heic"),
        ("scan.png", "TIFF", "image/tiff"),
        ("a.heif", "HEIF", "image/heif"),
        ("DSC.NEF", "TIFF", "image/x-dcraw"),  # the first bytes of most RAW files are a TIFF's
        ("DSC.dng", "JPEG", "image/jpeg"),
        ("a.jpg", None, "image/jpeg"),
        ("page.html", "PNG", "image/png"),
    ],
)
def test_the_content_tells_the_media_type_before_the_name_does(name, content, media_type):
    assert media_type_of(name, content) == media_type
