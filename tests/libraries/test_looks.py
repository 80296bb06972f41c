"""What is indexed and shown is what a browser shows; tests/browser/test_looks.py asks a browser itself."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.service.files.renditions import rendition
from model.config import PreprocessConfig
from model.errors import DamagedImageError
from model.images.appearance import DARK, photo_rgb
from model.images.modes import to_rgb
from model.images.opening import FORMATS, ImageLimits, open_image, read_image
from model.images.preprocess import photo_image
from tests.libraries.odd_looks import (
    ADOBE,
    COLOURS,
    LINEAR,
    P3,
    SHOWN,
    animation,
    drawing,
    empty,
    jpeg,
    patches,
    press_profile,
    saved,
    sixteen_bits,
)
from tests.model.images.hostile.case import picture

CONFIG = PreprocessConfig()
# Each colour of `COLOURS` as Chromium 156 shows it.
IN_P3 = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (213, 115, 0), (0, 142, 205), (128, 128, 128),
         (20, 20, 20), (0, 204, 87), (237, 199, 177), (95, 58, 36), (253, 239, 0)]  # fmt: skip


def colours(image: Image.Image) -> np.ndarray:
    """[12, 3] the colour in the middle of each square."""
    scale = image.width / 160
    return np.array(
        [image.getpixel((int(scale * (20 + 40 * x)), int(scale * (20 + 40 * y)))) for y in range(3) for x in range(4)]
    )


def shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(rendition(data, ImageLimits(), 256))).convert("RGB")


@pytest.mark.parametrize("kind", [one for one in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF") if one in FORMATS])
def test_display_p3_becomes_srgb_in_the_index_and_in_thumbnails(kind):
    options: dict[str, dict[str, object]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100},
        "HEIF": {"quality": 100, "chroma": 444},
    }
    data = saved(patches(), kind, icc_profile=P3, **options.get(kind, {}))
    np.testing.assert_allclose(colours(photo_rgb(open_image(data))), IN_P3, atol=4)
    np.testing.assert_allclose(colours(photo_image(open_image(data), CONFIG).resize((160, 120))), IN_P3, atol=6)
    np.testing.assert_allclose(colours(shown(data)), IN_P3, atol=8)


def test_a_large_photo_is_converted_after_it_was_made_small():
    data = jpeg(patches().resize((3200, 2400), Image.Resampling.NEAREST), icc_profile=P3)
    np.testing.assert_allclose(colours(photo_rgb(open_image(data, longest_side=224))), IN_P3, atol=4)


def test_a_profile_that_makes_no_sense_is_no_error():
    for profile in (P3[:200], b"", b"x" * 5000, P3[:16] + b"Lab " + P3[20:], P3 + bytes(5_000_000)):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            found = colours(photo_rgb(open_image(saved(patches(), kind, icc_profile=profile))))
            tolerance = 40 if kind in ("JPEG", "WEBP") else 0
            np.testing.assert_allclose(found, np.array(COLOURS).reshape(-1, 3), atol=tolerance)


def test_adobe_rgb_and_a_press_are_not_shown_as_if_they_were_srgb():
    green = colours(photo_rgb(open_image(jpeg(patches(), icc_profile=ADOBE))))[8]
    assert green[0] == 0  # more saturated than (10, 200, 100) of sRGB
    cyan = colours(photo_rgb(open_image(jpeg(patches("CMYK"), icc_profile=press_profile()))))[5]
    np.testing.assert_allclose(cyan, (94, 107, 143), atol=4)


def test_white_on_transparent_gets_a_dark_ground():
    icon = saved(drawing("white", (255, 255, 255, 0), "RGBA"), "PNG")
    for image in (photo_image(open_image(icon), CONFIG), shown(icon)):
        assert np.ptp(np.asarray(image.convert("L")).astype(int)) > 150
    assert photo_rgb(open_image(icon)).getpixel((0, 0)) == DARK


@pytest.mark.parametrize("line", ["black", "red", "yellow", "silver"])
def test_anything_else_on_transparent_stays_on_white(line):
    icon = saved(drawing(line, (0, 0, 0, 0), "RGBA"), "PNG")
    assert photo_rgb(open_image(icon)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("ink", [1, 2, 4])
def test_a_white_picture_with_a_thin_dark_outline_stays_on_white(ink):
    sticker = Image.new("RGBA", (600, 600))
    ImageDraw.Draw(sticker).ellipse((50, 50, 550, 550), fill="white", outline="black", width=ink)
    assert photo_rgb(open_image(saved(sticker, "PNG"))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("scaled", [1, 3])
def test_dark_fringes_of_white_icons_are_no_picture(scaled):
    """Drawn onto black that is transparent, the edges of white letters are grey and fade out."""
    icon = Image.new("RGBA", (200, 100))
    ImageDraw.Draw(icon).text((10, 20), "white words", fill="white", font_size=30)
    icon = icon.resize((200 * scaled, 100 * scaled), Image.Resampling.LANCZOS)
    edges = np.asarray(icon)[..., 3]
    assert ((edges > 0) & (edges < 255)).sum() > 0.1 * (edges > 0).sum()
    assert photo_rgb(open_image(saved(icon, "PNG"))).getpixel((0, 0)) == DARK


def test_nothing_at_all_stays_white():
    assert photo_rgb(open_image(saved(empty("RGBA"), "PNG"))).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("factor", "bits"), [(16, 12), (4, 10)])
def test_sixteen_bits_that_use_few_of_them_are_not_black(kind, factor, bits):
    pixels = np.asarray(patches("L")).astype(np.uint16) * factor + 3  # the last bits of an instrument are noise
    found = np.asarray(photo_rgb(open_image(saved(Image.fromarray(pixels), kind))))[..., 0]
    np.testing.assert_allclose(found, pixels / (2**bits - 1) * 255, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("factor", [257, 60, 20])
def test_an_honest_dark_picture_of_sixteen_bits_stays_dark(kind, factor):
    found = np.asarray(photo_rgb(open_image(sixteen_bits(factor, kind))))[..., 0]
    np.testing.assert_allclose(found, np.asarray(patches("L")) * (factor / 257), atol=1)


def test_eight_dark_bits_that_were_scaled_up_stay_dark():
    pixels = (np.asarray(patches("L")) // 17).astype(np.uint16) * 257
    assert np.asarray(photo_rgb(open_image(saved(Image.fromarray(pixels), "PNG")))).max() == 15


def test_a_large_picture_of_few_bits_is_judged_as_a_whole():
    pixels = np.zeros((2400, 2000), dtype=np.uint16)
    pixels[1200:] = 4001
    opened = open_image(saved(Image.fromarray(pixels), "PNG"), longest_side=200)
    assert np.asarray(to_rgb(opened))[[0, -1], 0, 0].tolist() == [0, 249]


@pytest.mark.parametrize(("kind", "mode"), [(k, m) for k in ("GIF", "WEBP", "PNG") for m in ("RGB", "RGBA")])
def test_an_animation_that_begins_empty_is_seen(kind, mode):
    options = {"lossless": True} if kind == "WEBP" else {}
    opened = read_image(animation(kind, mode, **options), longest_side=64)
    assert (opened.width, opened.height) == (160, 120)
    assert photo_rgb(opened.image).getpixel((80, 60)) in {(0, 0, 128), (128, 0, 0)}


def test_an_animation_that_begins_with_a_picture_is_that_picture():
    data = saved(drawing(), "GIF", save_all=True, append_images=[picture(160, 120), drawing("red")], duration=50)
    assert photo_rgb(open_image(data)).getpixel((80, 60)) == (0, 0, 128)


def test_an_animation_of_empty_or_damaged_frames_is_its_first_one():
    frames = [empty(), Image.new("RGB", (160, 120), "black"), empty()]
    white = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert photo_rgb(open_image(white)).getpixel((80, 60)) == (255, 255, 255)
    for kind in ("GIF", "WEBP", "PNG"):
        whole = animation(kind)
        damaged = whole[: len(whole) * 3 // 4] + b"\x7f" * (len(whole) // 4)
        with contextlib.suppress(DamagedImageError):
            assert open_image(damaged).size == (160, 120)


@pytest.mark.parametrize("name", [name for name in SHOWN if "P3" in name and "JPEG" in name])
def test_the_profile_is_needed(name):
    """Without it the colours are others, so the tests above can fail."""
    found = colours(to_rgb(open_image(SHOWN[name][1]().replace(b"ICC_PROFILE", b"XXX_PROFILE"))))
    np.testing.assert_allclose(found, np.array(COLOURS).reshape(-1, 3), atol=8)


def test_pictures_in_srgb_are_bit_by_bit_what_they_were():
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode in ("RGB", "L", "P", "RGBA", "LA"):
        image = patches("RGB").quantize(16) if mode == "P" else picture(90, 70, mode)
        for profile in ({}, {"icc_profile": srgb}):
            opened = open_image(saved(image, "PNG", **profile))
            np.testing.assert_array_equal(np.asarray(photo_rgb(opened)), np.asarray(image.convert("RGB")))
            assert "needed_profile" not in opened.info
    assert open_image(jpeg(picture(), icc_profile=LINEAR)).info == {"needed_profile": LINEAR}
