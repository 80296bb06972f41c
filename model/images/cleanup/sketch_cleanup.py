"""Scans, phone photos and inverted drawings -> dark lines on white.

A morphological closing swallows the lines and leaves the background. Dividing by it takes out uneven light, shadows
and the paper's colour. Ink is what stays darker than the paper's own noise and is not a lone speck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from model.errors import BlankSketchError
from model.images.cleanup.clean_drawings import SAME, Box, border, is_canvas, mask_box
from model.images.cleanup.dense_drawings import two_tones
from model.images.cleanup.neighbourhoods import Mask, count_set, grown, running
from model.images.cleanup.paper import surroundings

Floats = NDArray[np.float32]

WORKING_SIDE = 640
"""Longest side, in pixels, at which pictures are cleaned."""

_WINDOW = 10  # the closing swallows what is narrower than this part of the longest side
_FLOOR = 0.45  # background counts as at least this share of the paper's brightness: solid areas stay solid
_DARKEST = 32.0  # of 255: paper is never taken for darker, or noise in the dark would look like ink
_MIN_CONTRAST = 0.04  # share of the paper's brightness that ink must lack
_NOISE_FACTOR = 6.0  # standard deviations of the paper's noise that ink must lack
_RELATIVE = 0.3  # of the darkest ink: what is fainter (ruled lines, print from the other side) is none
_FADE = 6  # pixels along which a stroke may fade out
_MIN_SKEWNESS = 0.5  # of light lines; noise has none


def clean_sketch(rgb: Image.Image) -> tuple[Image.Image, Box]:
    """Dark ink on pure white (255) as a grey image, and the ink's box in it (left, top, right, bottom; half open).

    Args:
        rgb: any picture of a drawing in mode RGB.

    Raises:
        BlankSketchError: nothing stands out from the background.
    """
    cleaned, box = _cleaned(rgb)
    scale = max(rgb.size) / max(cleaned.size)
    extent = max(box[2] - box[0], box[3] - box[1])
    if scale >= 1.5 and extent < 0.6 * WORKING_SIDE:  # a small drawing on a large sheet: look closer
        room = extent // 3
        near = (box[0] - room, box[1] - room, box[2] + room, box[3] + room)
        left, top, right, bottom = (round(scale * value) for value in near)
        try:
            part = rgb.crop((max(left, 0), max(top, 0), min(right, rgb.width), min(bottom, rgb.height)))
            return _cleaned(part, may_be_dense=False)
        except BlankSketchError:
            return cleaned, box
    return cleaned, box


def _cleaned(rgb: Image.Image, *, may_be_dense: bool = True) -> tuple[Image.Image, Box]:
    small = _shrunk(rgb)
    table = surroundings(small.convert("L"))
    if table is not None and table.all():  # no paper lies on it
        table = None
    whole = two_tones(_grey(small))
    if table is not None:
        small = _without_table(small, table)
    tones = whole if table is None else two_tones(_grey(small))
    if may_be_dense and tones.is_dense and (drawn := tones.drawn()):
        return drawn
    if tones.is_light_on_dark or _light_on_dark(small):
        small = ImageOps.invert(small)
    darkness, mask = _ink(small, table)
    box = mask_box(mask)
    if box is None:  # the paper is not where it was looked for
        for other in (tones, whole):
            if other.shows_anything and (drawn := other.drawn()):
                return drawn
        raise BlankSketchError("the sketch is blank; draw something with lines that differ from the background")
    level = max(float(np.percentile(darkness[mask], 75)), _MIN_CONTRAST)
    low = 0.2 * level
    ink = np.clip((darkness - low) / (0.6 * level), 0, 1)
    ink[~grown(mask, 3)] = 0
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8)), box


def _ink(rgb: Image.Image, table: Mask | None) -> tuple[Floats, Mask]:
    """[height, width] darkness, and which pixels are ink."""
    darkness, smooth, noise = _darkness(_grey(rgb))
    if table is not None:  # the sheet's edge is no line
        smooth[grown(table, max(rgb.size) // 40 | 1)] = 0
    return darkness, _ink_mask(smooth, noise)


def _without_table(rgb: Image.Image, table: Mask) -> Image.Image:
    """The table takes the colour of the paper nearby."""
    paper = Image.fromarray(~table).convert("L")
    covered = Image.composite(rgb, Image.new("RGB", rgb.size), paper)
    result = np.array(rgb)
    result[table] = np.median(result[~table], axis=0)
    for radius in (max(rgb.size) // 4, max(rgb.size) // 16):  # the nearer the better, where there is any
        blur = ImageFilter.BoxBlur(radius)
        weight = np.asarray(paper.filter(blur), dtype=np.float32)
        near = table & (weight >= 4)
        total = np.asarray(covered.filter(blur), dtype=np.float32)
        result[near] = np.minimum(255 * total[near] / weight[near][:, None], 255)
    return Image.fromarray(result)


def _shrunk(rgb: Image.Image) -> Image.Image:
    factor = max(rgb.size) // WORKING_SIDE
    if factor > 1:
        rgb = rgb.reduce(factor)
    if max(rgb.size) > WORKING_SIDE:
        scale = WORKING_SIDE / max(rgb.size)
        rgb = rgb.resize(
            (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))), Image.Resampling.BILINEAR
        )
    return rgb


def _grey(rgb: Image.Image) -> Image.Image:
    """Mean of luminance and the darkest channel, so that light colours such as yellow count as ink."""
    red, green, blue = np.moveaxis(np.asarray(rgb), 2, 0)
    darkest = np.minimum(np.minimum(red, green), blue).astype(np.uint16)  # `min` takes over 20 times as long
    return Image.fromarray(((darkest + np.asarray(rgb.convert("L"))) // 2).astype(np.uint8))


def _light_on_dark(rgb: Image.Image) -> bool:
    """Whether lines are lighter than their surroundings: differences to the local mean are skewed upwards."""
    grey = rgb.convert("L")
    mean = grey.filter(ImageFilter.BoxBlur(max(grey.size) / 16))
    difference = np.asarray(grey, dtype=np.float32) - np.asarray(mean, dtype=np.float32)
    cubes = difference * difference * difference  # a power takes a hundred times as long
    return bool(cubes.mean() > _MIN_SKEWNESS * max(float(difference.std()), 1.0) ** 3)


def _darkness(grey: Image.Image) -> tuple[Floats, Floats, Floats]:
    """[height, width] 0 (paper) .. 1 (black) whatever light falls on the paper; the same smoothed; that one's noise.

    The noise is a standard deviation. It is the camera's, so it grows where dark paper is amplified.
    """
    values = np.asarray(grey)
    colour = float(np.median(border(values)))
    if is_canvas(values, colour, SAME):
        background, gain = np.full(values.shape, max(colour, _DARKEST), np.float32), np.ones(values.shape, np.float32)
    else:
        gain = _levelling_gain(grey)
        grey = Image.fromarray(np.minimum(values * gain, 255).astype(np.uint8))
        background = _background(grey)
    blurred = grey.filter(ImageFilter.GaussianBlur(1))
    sharp, smooth = (1 - np.asarray(layer, dtype=np.float32) / background for layer in (grey, blurred))
    offset = np.median(smooth)
    sharp, smooth = sharp - offset, smooth - offset
    noise = 1.4826 * float(np.median(np.abs(smooth) * background / gain))
    return sharp, smooth, noise * gain / background


def _background(grey: Image.Image) -> Floats:
    """[height, width] brightness of the paper alone."""
    window = max(9, max(grey.size) // _WINDOW) | 1
    values = np.asarray(grey.filter(ImageFilter.GaussianBlur(1)))
    closed = running(running(values, window, np.maximum), window, np.minimum)
    result = np.asarray(Image.fromarray(closed).filter(ImageFilter.BoxBlur(window // 4)), dtype=np.float32)
    return np.maximum(result, max(_DARKEST, _FLOOR * float(np.percentile(result, 90))))


def _levelling_gain(grey: Image.Image) -> Floats:
    """[height, width] 1 and more: makes up for a plane fitted to the logarithm of the paper's brightness.

    A closing alone leaves a dark band where brightness falls off towards the picture's border.
    """
    scale = max(1.0, max(grey.size) / 64)
    size = (max(1, round(grey.width / scale)), max(1, round(grey.height / scale)))
    small = np.log(np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.float64) + 1)
    terms = _plane(size)
    paper = np.ones(small.size, dtype=bool)
    for _ in range(4):  # ink and shadows are darker than the fit: leave them out and fit again
        coefficients, *_ = np.linalg.lstsq(terms[paper], small.ravel()[paper], rcond=None)
        residuals = small.ravel() - terms @ coefficients
        paper = residuals > -2 * np.median(np.abs(residuals)) - 0.01
    light = (_plane(grey.size) @ coefficients).reshape(grey.height, grey.width)
    lift: NDArray[np.float32] = np.exp(np.clip(light.max() - light, 0, 2)).astype(np.float32)
    return lift


def _plane(size: tuple[int, int]) -> NDArray[np.float64]:
    """[width * height, 3] the terms 1, x and y with x and y in -1..1."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    return np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)


def _ink_mask(darkness: Floats, noise: Floats) -> Mask:
    """Pixels darker than the paper's noise explains and not much fainter than most ink, without lone specks."""
    threshold = np.maximum(_MIN_CONTRAST, _NOISE_FACTOR * noise)
    strong = _supported(darkness > threshold)
    if not strong.any():
        return strong
    threshold = np.maximum(threshold, _RELATIVE * float(np.percentile(darkness[strong], 90)))
    kept = _supported(strong & (darkness > threshold))
    weak = darkness > threshold / 2
    for _ in range(_FADE):  # strokes fade out at their ends
        kept = grown(kept, 3) & weak
    return kept


def _supported(mask: Mask) -> Mask:
    return mask & (count_set(mask, 9) >= 8)
