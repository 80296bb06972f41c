"""A drawing is refused for want of contrast alone: never because it is dense, on a dark canvas, or badly scanned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from model.config import PreprocessConfig
from model.errors import BlankSketchError
from model.images.cleanup.dark_margins import without_dark_margins
from model.images.preprocess import sketch_image

SIDE = 96
FLUSH = PreprocessConfig(image_size=SIDE, sketch_margin=0)
KINDS = ("filled", "hatched", "marker", "scribble")


def drawn(kind: str, coverage: float, size: tuple[int, int], seed: int, edge: float = 0.04) -> Image.Image:
    """Mode L, antialiased black on white; about `coverage` of it is black, and none within `edge` of the border."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("L", (2 * size[0], 2 * size[1]), 255)
    pen = ImageDraw.Draw(canvas)
    extent = np.array(canvas.size)

    if kind == "hatched":
        period = int(rng.integers(9, 20))
        width = min(period - 2, max(2, round(period * coverage / 0.8)))
        half = extent / 2 * min(1 - 2 * edge, (coverage * period / width) ** 0.5)
        box = tuple(int(value) for value in (*(extent / 2 - half), *(extent / 2 + half)))
        for x in range(box[0], box[2], period):
            pen.line((x, box[1], x, box[3]), fill=0, width=width)
        pen.rectangle(box, outline=0, width=4)
        return canvas.reduce(2)
    thickness = {"filled": 0, "marker": 0.06, "scribble": 0.015}[kind] * max(canvas.size)
    for _ in range(500):  # the last per cent may take thousands
        missing = coverage - float((np.asarray(canvas) < 128).mean())
        if missing <= 0:
            break
        points = extent * rng.uniform(edge, 1 - edge, (3, 2))
        if kind == "filled":
            reach = (missing + 0.002) ** 0.5 * extent * rng.uniform(0.4, 0.8)
            low, high = np.maximum(points[0] - reach, edge * extent), np.minimum(points[0] + reach, (1 - edge) * extent)
            pen.ellipse((*low, *np.maximum(high, low + 2)), fill=0)
        else:
            reach = 1.0 if coverage > 0.02 else 0.2
            near = [tuple(extent / 2 + (point - extent / 2) * reach) for point in points]
            pen.line(near, fill=0, width=max(2, round(thickness)), joint="curve")
    return canvas.reduce(2)


def put_on_paper(ink: Image.Image, paper: float, pen: float, noise: float, seed: int) -> Image.Image:
    """RGB: the drawing in these greys, with the camera's noise."""
    values = pen + (paper - pen) * np.asarray(ink, dtype=np.float64) / 255
    values += np.random.default_rng(seed).normal(0, noise, values.shape)
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    return (image.filter(ImageFilter.GaussianBlur(0.6)) if noise else image).convert("RGB")


def scanned(page: Image.Image, widths: tuple[int, int, int, int], lid: int = 15) -> Image.Image:
    """With dark margins: left, top, right and bottom, in pixels."""
    scan = Image.new("RGB", (page.width + widths[0] + widths[2], page.height + widths[1] + widths[3]), (lid,) * 3)
    scan.paste(page, widths[:2])
    return scan


def prepared(image: Image.Image) -> np.ndarray:
    return np.asarray(sketch_image(image, FLUSH).convert("L"))


def shown(image: Image.Image) -> np.ndarray:
    return prepared(image) < 128


def fitted(ink: Image.Image) -> np.ndarray:
    """The drawing itself, in the square in which it is shown."""
    box = Image.fromarray(np.asarray(ink) < 128).getbbox()
    return np.asarray(ImageOps.pad(ink.crop(box), (SIDE, SIDE), color=255))


def overlap_with(ink: Image.Image, image: Image.Image) -> float:
    """Of what is shown of a picture and the drawing itself."""
    truth, found = fitted(ink) < 128, shown(image)
    return float((truth & found).sum() / max((truth | found).sum(), 1))


def difference_to(ink: Image.Image, image: Image.Image) -> float:
    """Mean difference of the coverage, 0..1, in cells of 12 x 12 pixels, however fine its lines are."""
    found = ImageOps.autocontrast(Image.fromarray(prepared(image)))  # a clean drawing keeps its shade
    cells = [grey.reshape(8, 12, 8, 12).mean(axis=(1, 3)) / 255 for grey in (fitted(ink), np.asarray(found))]
    return float(np.abs(cells[0] - cells[1]).mean())


DRAWINGS = {
    "kind": st.sampled_from(KINDS),
    "size": st.sampled_from([(96, 96), (128, 128), (200, 140)]),
    "seed": st.integers(0, 10_000),
    "noise": st.sampled_from([0.0, 3.0, 6.0]),
}
DARK_INK = st.sampled_from([(255, 0), (255, 80), (238, 60), (225, 70), (150, 30)])
PAPERS = st.sampled_from([(255, 0), (255, 110), (238, 60), (225, 120), (150, 30)])


@settings(max_examples=120, deadline=None)
@given(coverage=st.floats(0.001, 0.9), paper=PAPERS, dark_canvas=st.booleans(), margin=st.integers(0, 14), **DRAWINGS)
def test_no_drawing_with_contrast_is_refused(
    *,
    kind: str,
    coverage: float,
    size: tuple[int, int],
    paper: tuple[int, int],
    noise: float,
    dark_canvas: bool,
    margin: int,
    seed: int,
) -> None:
    picture = put_on_paper(drawn(kind, coverage, size, seed), *paper, noise, seed)
    if dark_canvas:
        picture = ImageOps.invert(picture)
    assert shown(scanned(picture, (margin, margin // 2, 0, margin)) if margin else picture).any()


@settings(max_examples=80, deadline=None)
@given(coverage=st.floats(0.25, 0.8), paper=DARK_INK, margin=st.sampled_from([0, 8, 12]), **DRAWINGS)
def test_dense_ink_on_paper_is_shown_as_ink(
    *, kind: str, coverage: float, size: tuple[int, int], paper: tuple[int, int], noise: float, margin: int, seed: int
) -> None:
    ink = drawn(kind, coverage, size, seed)
    picture = put_on_paper(ink, *paper, noise, seed)
    assert difference_to(ink, scanned(picture, (margin, 0, margin // 2, margin)) if margin else picture) < 0.25


@pytest.mark.parametrize("kind", ["filled", "marker", "scribble"])
@pytest.mark.parametrize("coverage", [0.05, 0.2, 0.35])
@pytest.mark.parametrize("board", [(45, 225), (0, 255), (70, 200)])
def test_chalk_on_a_board_is_shown_as_ink(kind: str, coverage: float, board: tuple[int, int]) -> None:
    ink = drawn(kind, coverage, (200, 160), seed=5, edge=0.1)
    assert overlap_with(ink, put_on_paper(ink, *board, 3.0, seed=5)) > 0.5


def test_a_hatched_skyscraper_is_drawn_as_it_is() -> None:
    tower = Image.new("L", (512, 512), 255)
    pen = ImageDraw.Draw(tower)
    for y in range(20, 492, 14):
        pen.line((100, y, 412, y), fill=0, width=8)
    for x in range(100, 413, 26):
        pen.line((x, 20, x, 492), fill=0, width=10)
    small = tower.reduce(4)
    assert 0.35 < (np.asarray(small) < 128).mean() < 0.5
    assert overlap_with(small, small.convert("RGB")) > 0.6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coverage", [0.3, 0.45])
def test_ink_may_reach_the_border(kind: str, coverage: float) -> None:
    ink = drawn(kind, coverage, (160, 160), seed=2).crop((0, 40, 120, 160))
    assert overlap_with(ink, put_on_paper(ink, 235, 40, 3.0, seed=2)) > 0.5


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (12, 6, 0, 20), (9, 9, 9, 9)])
@pytest.mark.parametrize(("paper", "noise"), [(255, 0.0), (235, 4.0), (120, 8.0)])
def test_an_empty_sheet_is_blank(margins: tuple[int, int, int, int], paper: int, noise: float) -> None:
    sheet = put_on_paper(Image.new("L", (150, 120), 255), paper, 0, noise, seed=1)
    if margins == (9, 9, 9, 9):
        assert shown(scanned(sheet, margins)).any()  # a drawn frame looks the same
        return
    with pytest.raises(BlankSketchError):
        sketch_image(scanned(sheet, margins), FLUSH)


def test_a_soft_shadow_on_an_empty_sheet_is_blank() -> None:
    y, x = np.mgrid[0:300, 0:400]
    distance = np.hypot(x - 150, y - 200) - 80
    for depth in (0.2, 0.35):
        sheet = 230 * (1 - depth / (1 + np.exp(distance / 25)))
        grain = np.random.default_rng(0).normal(0, 3, sheet.shape)
        with pytest.raises(BlankSketchError):
            sketch_image(Image.fromarray((sheet + grain).clip(0, 255).astype(np.uint8)), FLUSH)


def test_a_drawn_frame_and_a_base_line_are_no_margins() -> None:
    house = drawn("scribble", 0.1, (120, 120), seed=3)
    pen = ImageDraw.Draw(house)
    pen.line((0, 118, 120, 118), fill=0, width=3)
    assert without_dark_margins(house.convert("RGB"))[0].size == house.size
    pen.rectangle((0, 0, 119, 119), outline=0, width=6)
    kept, framed = without_dark_margins(house.convert("RGB"))
    assert kept.size == house.size
    assert framed
    assert overlap_with(house, house.convert("RGB")) > 0.8


@pytest.mark.parametrize("widths", [(12, 0, 0, 0), (20, 10, 4, 15), (0, 30, 0, 8)])
def test_dark_margins_are_cut_off(widths: tuple[int, int, int, int]) -> None:
    page = put_on_paper(drawn("marker", 0.2, (160, 120), seed=4), 235, 60, 3.0, seed=4)
    kept, framed = without_dark_margins(scanned(page, widths))
    assert not framed
    assert max(abs(kept.width - page.width), abs(kept.height - page.height)) <= 2
