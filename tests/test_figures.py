"""Figures that the code decides and pages repeat."""

import re

import pytest

from app.setup.sample_icons import ICON_COUNT
from app.setup.sample_photos import PHOTO_COUNT
from index_builder.index.gpu_index import GPU_MOST
from index_builder.index.settings import RecallSettings
from index_builder.store.checksums import TAIL
from index_builder.store.quantise import TokenShape
from index_builder.store.tidy import CROWDED_KEEP_S, KEEP_VERSIONS_S, MOST_VERSIONS, TIDY_EVERY
from model import load_checkpoint
from model.data.descriptions import bundled_descriptions
from tests.paths import ROOT

NETWORK = load_checkpoint("zse-lite", "cpu")
PHOTO_BYTES = TokenShape.of(NETWORK).bytes_per_photo
HALF_BYTES, CODE_BYTES = 2 * NETWORK.descriptor_size, RecallSettings().hash_bits // 8
CATEGORIES = len(bundled_descriptions().categories)
SAMPLE = f"{PHOTO_COUNT} photos and {ICON_COUNT} icons"
WORDS = {10: "ten", 1: "a"}

REPEATED = [
    ("README.md", r"disk per photo \| (.+) kB", f"{PHOTO_BYTES / 1000:.0f}"),
    ("CHANGELOG.md", r"A photo takes (.+) kB on disk", f"{PHOTO_BYTES / 1000:.1f}"),
    ("CHANGELOG.md", r"keeps (\d+) bytes per photo in memory", str(CODE_BYTES)),
    ("CHANGELOG.md", r"per photo in memory instead of (\d+)", str(HALF_BYTES)),
    ("docs/hash-codes.md", r"descriptor: (\d+ bytes instead of \d+)", f"{CODE_BYTES} bytes instead of {HALF_BYTES}"),
    ("README.md", r"sample gallery of (\d+ photos and \d+ icons)", SAMPLE),
    ("docs/index.md", r"fetches (\d+ photos and \d+ icons)", SAMPLE),
    ("CHANGELOG.md", r"sample gallery of (\d+ photos and \d+ icons)", SAMPLE),
    ("docs/networks.md", r"describes (\d+) categories", str(CATEGORIES)),
    ("docs/training.md", r"added to the (\d+) that come along", str(CATEGORIES)),
    ("docs/gallery.md", r"flat up to (\d+) million photos, IVF from there", str(RecallSettings().ivf_from // 10**6)),
    ("docs/gallery.md", r"more than (\d+)\s+candidates run on the CPU", str(GPU_MOST)),
    ("docs/gallery.md", r"the last (\d+) kB", str(TAIL // 1024)),
    ("docs/gallery.md", r"stay readable for (\w+) day", WORDS[int(KEEP_VERSIONS_S / 86400)]),
    ("docs/gallery.md", r"more than (\d+), they stay", str(MOST_VERSIONS)),
    ("docs/gallery.md", r"they stay for (\w+) minutes", WORDS[int(CROWDED_KEEP_S / 60)]),
    ("docs/gallery.md", r"one in (\d+), or the first", str(TIDY_EVERY)),
]  # fmt: skip


@pytest.mark.parametrize(("page", "pattern", "expected"), REPEATED, ids=[f"{page}: {p}" for page, p, _ in REPEATED])
def test_a_page_repeats_the_figure_that_the_code_has(page, pattern, expected):
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert re.findall(pattern, text) == [expected]
