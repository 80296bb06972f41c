"""Sketches and photos become the network's input: upstream's recipe, every mode, phone photos, blanks."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from model.config import PreprocessConfig
from model.errors import BlankSketchError
from model.images.cleanup import sketch_cleanup
from model.images.cleanup.line_width import line_width
from model.images.opening import open_image
from model.images.preprocess import (
    channels_first,
    normalised,
    photo_image,
    photo_tensor,
    sketch_image,
    sketch_tensor,
    to_tensor,
)

CONFIG = PreprocessConfig()
SMALL = PreprocessConfig(image_size=64)
FLUSH = PreprocessConfig(sketch_margin=0)  # so that the ink of one drawing lies the same, whatever canvas it came on


def drawing(size: tuple[int, int] = (256, 256), seed: int = 0, width: int = 3) -> Image.Image:
    """RGB: antialiased black curves on white, somewhere inside the canvas."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("L", (size[0] * 4, size[1] * 4), 255)
    pen = ImageDraw.Draw(canvas)
    scale = min(canvas.size)
    corner = np.array([canvas.width, canvas.height]) * rng.uniform(0.1, 0.2, 2)
    extent = scale * rng.uniform(0.45, 0.6, 2)
    pen.ellipse((*corner, *(corner + extent)), outline=0, width=width * 4)
    for _ in range(5):
        points = corner + rng.random((4, 2)) * extent * 1.1
        pen.line([tuple(point) for point in points], fill=0, width=width * 4, joint="curve")
    return canvas.reduce(4).convert("RGB")


def upstream_sketch(rgb: Image.Image, size: int) -> np.ndarray:
    """The published recipe, written down a second time, pixel by pixel where it can be."""
    values = np.asarray(rgb).astype(int)
    height, width, _ = values.shape
    dark = [(y, x) for y in range(height) for x in range(width) if values[y, x].sum() <= 300]
    top, left = max(min(y for y, _ in dark) - 10, 0), max(min(x for _, x in dark) - 10, 0)
    bottom, right = min(max(y for y, _ in dark) + 11, height), min(max(x for _, x in dark) + 11, width)
    cut = Image.fromarray(values[top:bottom, left:right].astype(np.uint8))
    if cut.width >= cut.height:
        scaled = cut.resize((size, max(1, round(cut.height * size / cut.width))))
    else:
        scaled = cut.resize((max(1, round(cut.width * size / cut.height)), size))
    pixels = np.asarray(scaled)
    square = np.full((size, size, 3), pixels.max(), dtype=np.uint8)
    y, x = (size - pixels.shape[0]) // 2, (size - pixels.shape[1]) // 2
    square[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return square


@pytest.mark.parametrize("size", [(256, 256), (120, 300), (333, 200), (40, 40)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_sketch_equals_upstreams_recipe(size: tuple[int, int], seed: int) -> None:
    picture = drawing(size, seed)
    expected = upstream_sketch(picture, 224)
    np.testing.assert_array_equal(np.asarray(sketch_image(picture, CONFIG)), expected)
    normalised = torch.from_numpy(expected).permute(2, 0, 1).double() / 255 * 2 - 1
    torch.testing.assert_close(sketch_tensor(picture, CONFIG).double(), normalised, atol=1e-6, rtol=0)


def test_coloured_dark_lines_keep_their_colour_and_off_white_its_shade() -> None:
    picture = Image.new("RGB", (200, 100), (250, 250, 245))
    ImageDraw.Draw(picture).rectangle((30, 30, 150, 60), outline=(0, 0, 255), width=4)
    np.testing.assert_array_equal(np.asarray(sketch_image(picture, CONFIG)), upstream_sketch(picture, 224))


def test_photo_is_squashed_with_pillows_default_resampling() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8))
    expected = np.asarray(photo.resize((224, 224)), dtype=np.float64) / 255 * 2 - 1
    tensor = photo_tensor(photo, CONFIG)
    assert tensor.shape == (3, 224, 224)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_padded_photo_keeps_its_aspect_ratio_between_bands_of_its_borders_mean() -> None:
    photo = Image.new("RGB", (200, 100), (10, 200, 30))
    ImageDraw.Draw(photo).rectangle((80, 40, 119, 59), fill="red")
    padded = np.asarray(photo_image(photo, PreprocessConfig(image_size=100, photo_fit="pad")))
    assert (padded[:25] == (10, 200, 30)).all()
    assert (padded[75:] == (10, 200, 30)).all()
    red = np.argwhere(padded[..., 0] > 128)
    assert np.ptp(red, axis=0).tolist() == [9, 19]


def test_to_tensor_normalises_each_channel_by_its_own_numbers() -> None:
    config = PreprocessConfig(image_size=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    tensor = to_tensor(Image.new("RGB", (2, 2), (255, 51, 0)), config)
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([1.8, 0.0, -0.15]))


# The same picture in every mode.

MODES: dict[str, Any] = {
    "RGB": lambda rgb: rgb,
    "RGBA": lambda rgb: rgb.convert("RGBA"),
    "RGBX": lambda rgb: rgb.convert("RGBX"),
    "P": lambda rgb: rgb.quantize(256),
    "CMYK": lambda rgb: rgb.convert("CMYK"),
    "YCbCr": lambda rgb: rgb.convert("YCbCr"),
    "HSV": lambda rgb: rgb.convert("HSV"),
    "RGBa": lambda rgb: rgb.convert("RGBA").convert("RGBa"),
    "LAB": None,
}


@pytest.mark.parametrize("mode", MODES)
def test_colour_modes_show_the_same_photo(mode: str) -> None:
    gradient = np.linspace(20, 235, 64, dtype=np.uint8)
    rgb = Image.merge("RGB", [Image.fromarray(np.tile(gradient, (64, 1)))] * 3)
    if mode == "LAB":
        from PIL import ImageCms

        transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        converted = ImageCms.applyTransform(rgb, transform)
    else:
        converted = MODES[mode](rgb)
    assert converted is not None
    assert converted.mode == mode
    difference = photo_tensor(converted, SMALL) - photo_tensor(rgb, SMALL)
    assert float(difference.abs().mean()) < 0.03


GREY_MODES: dict[str, Any] = {
    "L": Image.fromarray,
    "LA": lambda grey: Image.fromarray(grey).convert("LA"),
    "La": lambda grey: Image.fromarray(grey).convert("LA").convert("La"),
    "PA": lambda grey: Image.fromarray(grey).convert("PA"),
    "I;16": lambda grey: Image.fromarray(grey.astype(np.uint16) * 257),
    "I;16B": lambda grey: Image.frombytes("I;16B", grey.shape[::-1], (grey.astype(">u2") * 257).tobytes()),
    "I 16 bits": lambda grey: Image.fromarray(grey.astype(np.int32) * 257),
    "I 8 bits": lambda grey: Image.fromarray(grey.astype(np.int32)),
    "I 31 bits": lambda grey: Image.fromarray(grey.astype(np.int32) * 2**22),
    "F 0..1": lambda grey: Image.fromarray(grey.astype(np.float32) / 255),
    "F 0..255": lambda grey: Image.fromarray(grey.astype(np.float32)),
    "F signed": lambda grey: Image.fromarray(grey.astype(np.float32) * 1e30 - 1e32),
    "1": lambda grey: Image.fromarray(grey).convert("1"),
}


@pytest.mark.parametrize("mode", GREY_MODES)
def test_grey_modes_show_the_same_photo(mode: str) -> None:
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    expected = photo_tensor(Image.fromarray(grey), SMALL)
    converted = GREY_MODES[mode](grey)
    assert converted.mode == mode.split(maxsplit=1)[0]
    got = photo_tensor(converted, SMALL)
    if mode == "1":  # dithered: the same where averaged
        got, expected = (torch.nn.functional.avg_pool2d(image, 16) for image in (got, expected))
        assert float((got - expected).abs().max()) < 0.2
    else:
        assert float((got - expected).abs().max()) < 0.02


def test_not_a_number_and_infinity_are_black() -> None:
    values = np.full((8, 8), 0.5, dtype=np.float32)
    values[0, :3] = (np.nan, np.inf, -np.inf)
    pixels = np.asarray(photo_image(Image.fromarray(values), PreprocessConfig(image_size=8)))
    assert pixels[0, :3].max() == 0
    assert pixels[1].min() == 128
    signalling = np.full((8, 8), 0x7FA00000, dtype=np.uint32).view(np.float32)
    assert np.asarray(photo_image(Image.fromarray(signalling), SMALL)).max() == 0


def test_transparency_is_white_in_every_guise() -> None:
    half = Image.new("L", (8, 8), 255)
    half.paste(0, (0, 0, 4, 8))
    rgba = Image.new("RGBA", (8, 8), "red")
    rgba.putalpha(half)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 255, 0, 255, 0, 0] + [0] * 762)
    palette.paste(0, (0, 0, 4, 8))
    palette.info["transparency"] = 0
    key = Image.new("RGB", (8, 8), "red")
    key.paste((1, 2, 3), (0, 0, 4, 8))
    key.info["transparency"] = (1, 2, 3)
    for image in (rgba, palette, key):
        pixels = np.asarray(photo_image(image, PreprocessConfig(image_size=8)))
        assert pixels[:, 0].tolist() == [[255, 255, 255]] * 8
        assert pixels[:, 7].tolist() == [[255, 0, 0]] * 8


# Canvases.


def ink(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 128


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def coloured(picture: Image.Image, line: tuple[int, int, int], canvas: tuple[int, int, int]) -> Image.Image:
    result = Image.new("RGB", picture.size, canvas)
    result.paste(line, (0, 0), ImageOps.invert(picture.convert("L")))
    return result


def test_negative_equals_its_positive() -> None:
    picture = drawing(seed=4)
    negative = ImageOps.invert(picture)
    assert torch.equal(sketch_tensor(negative, CONFIG), sketch_tensor(picture, CONFIG))


def test_black_on_a_transparent_canvas_equals_black_on_white() -> None:
    picture = drawing(seed=5)
    canvas = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    canvas.putalpha(ImageOps.invert(picture.convert("L")))
    assert torch.equal(sketch_tensor(canvas, CONFIG), sketch_tensor(picture, CONFIG))


def test_white_on_a_transparent_canvas_is_seen() -> None:
    picture = drawing(seed=6)
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    canvas.putalpha(ImageOps.invert(picture.convert("L")))
    assert torch.equal(sketch_tensor(canvas, CONFIG), sketch_tensor(picture, CONFIG))


@pytest.mark.parametrize(
    ("line", "canvas"),
    [
        ((255, 230, 0), (255, 255, 255)),
        ((200, 200, 200), (255, 255, 255)),
        ((128, 128, 128), (255, 255, 255)),
        ((230, 230, 220), (40, 70, 50)),
        ((90, 80, 70), (240, 228, 190)),
        ((255, 120, 120), (30, 30, 90)),
    ],
    ids=["yellow", "faint grey", "grey", "chalk", "yellowish paper", "pink on navy"],
)
def test_any_lines_that_differ_become_dark_on_white(line: tuple[int, int, int], canvas: tuple[int, int, int]) -> None:
    picture = drawing(seed=7)
    result = sketch_image(coloured(picture, line, canvas), CONFIG)
    pixels = np.asarray(result)
    assert pixels.max() == 255
    assert np.percentile(pixels[ink(result)], 50) < 40
    assert overlap(ink(result), ink(sketch_image(picture, CONFIG))) > 0.6  # 0.68 to 0.89 measured


@pytest.mark.parametrize("side", [28, 48])
@pytest.mark.parametrize("filled", [False, True])
def test_tiny_bitmaps_that_fill_their_canvas_are_drawings(side: int, filled: bool) -> None:
    canvas = Image.new("L", (side * 4, side * 4), 255)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, side * 4 - 1, side * 4 - 1), outline=0, width=8)  # touches every border
    pen.ellipse((side, side, side * 3, side * 3), outline=0, fill=0 if filled else 255, width=8)
    tiny = canvas.reduce(4).convert("RGB")
    ink = np.asarray(sketch_image(tiny, CONFIG).convert("L")) < 128
    assert 0.05 < ink.mean() < 0.6
    assert ink[112, 112] == filled


def test_faint_parts_outside_the_dark_ones_are_not_cut_off() -> None:
    picture = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((100, 100, 120, 120), outline="black", width=3)
    pen.rectangle((20, 20, 230, 230), outline=(150, 150, 150), width=3)
    mask = ink(sketch_image(picture, CONFIG))
    assert mask[:, :30].any()
    assert mask[-30:].any()


BLANKS = {
    "white": Image.new("RGB", (256, 256), "white"),
    "black": Image.new("RGB", (256, 256)),
    "transparent": Image.new("RGBA", (256, 256)),
    "transparent white": Image.new("RGBA", (256, 256), (255, 255, 255, 0)),
    "opaque black with alpha": Image.new("RGBA", (64, 64), (0, 0, 0, 255)),
    "half transparent": Image.new("RGBA", (64, 64), (0, 0, 0, 128)),
    "red": Image.new("RGB", (90, 50), "red"),
    "one pixel": Image.new("L", (1, 1), 128),
    "thin": Image.new("RGB", (1, 5000), "white"),
}


@pytest.mark.parametrize("name", BLANKS)
def test_blank_sketch_raises_its_error(name: str) -> None:
    with pytest.raises(BlankSketchError, match="draw something") as caught:
        sketch_tensor(BLANKS[name], CONFIG)
    assert caught.value.code == "blank_sketch"


@pytest.mark.parametrize(("mean", "deviation"), [(250, 2), (240, 6), (200, 10), (128, 40), (30, 10), (5, 3)])
def test_noise_alone_is_blank(mean: float, deviation: float) -> None:
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(mean, deviation, (300, 400, 3))
        with pytest.raises(BlankSketchError):
            sketch_tensor(Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)), SMALL)


@pytest.mark.parametrize("seeds", [(0, 1), pytest.param((2, 3), marks=pytest.mark.slow)], ids=["two", "more"])
def test_blank_paper_in_uneven_light_is_blank(seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        photo, _ = phone_photo(Image.new("L", (256, 256), 255), seed, shadow=False)
        with pytest.raises(BlankSketchError):
            sketch_tensor(photo, SMALL)


# Phone photos of pencil drawings.


def phone_photo(
    picture: Image.Image,
    seed: int,
    *,
    side: tuple[int, int] = (756, 1008),
    pencil: float = 0.45,
    light: tuple[float, float] = (0.5, 1.0),
    noise: float = 6,
    shadow: bool = True,
) -> tuple[Image.Image, Image.Image]:
    """A JPEG of the drawing on cream paper, turned a little, in falling light with a shadow; and the turned drawing."""
    rng = np.random.default_rng(seed)
    width, height = side
    extent = int(width * 0.6)
    page = Image.new("L", side, 255)
    page.paste(picture.convert("L").resize((extent, extent)), ((width - extent) // 2, (height - extent) // 2))
    page = page.rotate(float(rng.uniform(-6, 6)), Image.Resampling.BICUBIC, fillcolor=255)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * x / width + np.sin(angle) * y / height
    lit = light[0] + (light[1] - light[0]) * (slope - slope.min()) / np.ptp(slope)
    if shadow:
        centre = rng.uniform(0.2, 0.8, 2) * side
        distance = np.hypot(x - centre[0], y - centre[1]) - rng.uniform(0.2, 0.4) * width
        lit = lit * (1 - 0.35 / (1 + np.exp(np.clip(distance / (0.04 * width), -50, 50))))
    grain = np.asarray(Image.fromarray(rng.integers(0, 256, (63, 47), dtype=np.uint8)).resize(side)) / 255 - 0.5
    paper = lit * (1 + 0.03 * grain) * (1 - pencil * (255 - np.asarray(page, dtype=np.float32)) / 255)
    pixels = paper[..., None] * np.array([232, 224, 205]) + rng.normal(0, noise, (height, width, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return open_image(stream.getvalue()), page


@pytest.mark.parametrize("seeds", [(0,), pytest.param((1, 2, 3, 4, 5), marks=pytest.mark.slow)], ids=["one", "more"])
@pytest.mark.parametrize(
    ("kind", "floor"),
    [({}, 0.68), ({"pencil": 0.25, "noise": 3}, 0.74), ({"light": (0.2, 0.5), "noise": 4}, 0.74)],
    ids=["pencil", "faint pencil", "dark room"],
)
def test_phone_photo_of_a_pencil_drawing_shows_the_drawing(
    kind: dict[str, Any], floor: float, seeds: tuple[int, ...]
) -> None:
    measured = []
    for seed in seeds:
        photo, page = phone_photo(drawing(seed=seed), seed, **kind)
        measured.append(overlap(ink(sketch_image(photo, FLUSH)), ink(sketch_image(page, FLUSH))))
    assert min(measured) > floor, measured


def test_table_around_the_sheet_is_no_ink() -> None:
    photo, page = phone_photo(drawing(seed=1), 1, shadow=False)
    rng = np.random.default_rng(0)
    table = rng.normal((70, 50, 40), 8, (1300, 1000, 3)).clip(0, 255).astype(np.uint8)
    scene = Image.fromarray(table)
    scene.paste(photo, (130, 140))
    scene = scene.rotate(4, fillcolor=(70, 50, 40))
    expected = sketch_image(page.rotate(4, Image.Resampling.BICUBIC, fillcolor=255), FLUSH)
    assert overlap(ink(sketch_image(scene, FLUSH)), ink(expected)) > 0.5


def test_small_drawing_on_a_large_sheet_keeps_its_detail() -> None:
    page = Image.new("RGB", (3000, 4000), (236, 228, 208))
    page.paste(coloured(drawing(seed=3).resize((400, 400)), (70, 70, 70), (236, 228, 208)), (1200, 2500))
    result = sketch_image(page, FLUSH)
    assert overlap(ink(result), ink(sketch_image(drawing(seed=3), FLUSH))) > 0.6


# Line width.


def figure(width: int) -> Image.Image:
    canvas = Image.new("L", (1024, 1024), 255)
    pen = ImageDraw.Draw(canvas)
    pen.ellipse((150, 150, 850, 850), outline=0, width=width * 4)
    pen.line((200, 900, 850, 100), fill=0, width=width * 4)
    return canvas.reduce(4)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_line_width_is_measured(width: int) -> None:
    assert line_width(figure(width)) == pytest.approx(width, rel=0.12)
    assert line_width(Image.new("L", (9, 9), 255)) == 0


@pytest.mark.parametrize("target", [1.5, 3.0, 6.0])
def test_line_width_is_normalised(target: float) -> None:
    config = PreprocessConfig(sketch_line_width=target)
    for width in (2, 4, 8):
        before = line_width(sketch_image(figure(width), CONFIG))
        after = line_width(sketch_image(figure(width), config))
        assert abs(after - target) < 0.3 * target + 0.2 * abs(before - target), (width, before, after)


def test_thinning_does_not_break_thin_lines() -> None:
    picture = drawing(width=2)
    thin = ink(sketch_image(picture, PreprocessConfig(sketch_line_width=1.5)).point(lambda value: value // 2))
    thick = ink(sketch_image(picture, CONFIG))
    grown = np.asarray(Image.fromarray(thin).convert("L").filter(ImageFilter.MaxFilter(7))) > 0
    assert (grown & thick).sum() > 0.98 * thick.sum()


# Any picture at all.

ANY_MODE = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B"]


@st.composite
def any_image(draw: st.DrawFn) -> Image.Image:
    mode = draw(st.sampled_from(ANY_MODE))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    blank = Image.new(mode, (width, height))
    size = len(blank.tobytes())
    pixels = draw(hnp.arrays(np.uint8, size, elements=st.integers(0, 255), fill=st.integers(0, 255)))
    image = Image.frombytes(mode, (width, height), pixels.tobytes())
    if mode in ("P", "PA"):
        image.putpalette(bytes(draw(st.binary(min_size=768, max_size=768))))
    if mode == "P" and draw(st.booleans()):
        image.info["transparency"] = draw(st.one_of(st.integers(0, 255), st.binary(min_size=1, max_size=256)))
    return image


@settings(max_examples=150, deadline=None)
@given(image=any_image())
def test_any_image_is_prepared_or_blank(image: Image.Image) -> None:
    for tensor in (photo_tensor(image, SMALL), _sketch_or_white(image)):
        assert tensor.shape == (3, 64, 64)
        assert tensor.dtype == torch.float32
        assert float(tensor.min()) >= -1
        assert float(tensor.max()) <= 1


def _sketch_or_white(image: Image.Image) -> torch.Tensor:
    try:
        return sketch_tensor(image, SMALL)
    except BlankSketchError:
        return torch.ones(3, 64, 64)


def test_preparing_leaves_the_image_as_it_was() -> None:
    for image in (drawing(), coloured(drawing(), (90, 80, 70), (240, 228, 190))):
        before = image.copy()
        photo_tensor(image, CONFIG)
        sketch_tensor(image, CONFIG)
        assert ImageChops.difference(image, before).getbbox() is None


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_pixels_are_normalised_later_as_they_would_be_at_once(fit):
    config = PreprocessConfig(image_size=40, photo_fit=fit, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    values = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    photo = Image.fromarray(values)
    pixels = torch.from_numpy(channels_first(photo_image(photo, config)))
    assert pixels.dtype == torch.uint8
    assert torch.equal(normalised(pixels[None], config)[0], photo_tensor(photo, config))


def test_a_table_that_covers_the_whole_picture_is_none(monkeypatch):
    monkeypatch.setattr(sketch_cleanup, "surroundings", lambda grey: np.ones((grey.height, grey.width), dtype=bool))
    paper = Image.new("RGB", (120, 100), (200, 190, 180))
    ImageDraw.Draw(paper).ellipse((30, 20, 90, 80), outline=(60, 50, 40), width=3)
    cleaned, box = sketch_cleanup.clean_sketch(paper)
    assert np.asarray(cleaned).min() < 128
    assert box[0] < 40
    assert box[2] > 80
