"""Pictures of a match: the overlay of correspondences, and where the sketch as a whole looks. Pillow and numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.explain.correspondences import Correspondence
from model.explain.explanation import Box, PairExplanation, sketch_patch_box

# Colours that people with any kind of colour vision tell apart (Okabe and Ito, "Color universal design", 2008), each
# with the colour of text on it. Every pair also carries a number.
PALETTE: tuple[tuple[str, str], ...] = (
    ("#0072b2", "#ffffff"),
    ("#e69f00", "#000000"),
    ("#009e73", "#000000"),
    ("#cc79a7", "#000000"),
    ("#d55e00", "#000000"),
    ("#56b4e9", "#000000"),
    ("#f0e442", "#000000"),
    ("#000000", "#ffffff"),
)

_WIDTH = 960
_FINE = 2  # drawn this many times larger, then scaled down: smooth lines
_PANEL = 440
_MARGIN = (_WIDTH - 2 * _PANEL) // 4
# Dark blue to yellow, rising in lightness all the way: readable in grey and by colour-blind people.
_HEAT = np.array(
    [(0, 32, 76), (58, 76, 107), (116, 117, 119), (174, 160, 108), (214, 191, 84), (255, 233, 69)], dtype=np.float32
)


def overlay(
    sketch: Image.Image,
    photo: Image.Image,
    pairs: Sequence[Correspondence],
    grid: int,
    photo_box: Callable[[int], Box],
    *,
    lines: int = 5,
) -> Image.Image:
    """Sketch and photo side by side; the strongest pairs in one colour and number each, joined by lines.

    Args:
        sketch: as prepared for the network (square).
        photo: upright, any shape.
        pairs: best first. Clear mutual ones are drawn, so that no patch has two numbers; as many as the palette has
            colours.
        grid: side of the patch grid.
        photo_box: from a photo patch to its box in the photo, as shares of its sides.
        lines: how many of the pairs are joined by a line.

    Returns:
        RGB, 960 pixels wide; numbers stay readable when it is shown at 400.
    """
    panel = _PANEL * _FINE
    scale = min(panel / photo.width, panel / photo.height)
    fitted = photo.convert("RGB").resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    tall = panel + 4 * _MARGIN * _FINE // 2
    canvas = Image.new("RGB", (_WIDTH * _FINE, tall), "#ffffff")
    left = (_MARGIN * _FINE, (tall - panel) // 2)
    right = (canvas.width - _MARGIN * _FINE - (panel + fitted.width) // 2, (tall - fitted.height) // 2)
    canvas.paste(sketch.convert("RGB").resize((panel, panel), Image.Resampling.BICUBIC), left)
    canvas.paste(fitted, right)
    draw = ImageDraw.Draw(canvas)
    for corner, size in ((left, (panel, panel)), (right, fitted.size)):
        draw.rectangle((*corner, corner[0] + size[0] - 1, corner[1] + size[1] - 1), outline="#c9c4ba", width=_FINE)
    worth_showing = [pair for pair in pairs if pair.mutual and pair.clear]
    shown = list(zip(worth_showing, PALETTE, range(1, len(PALETTE) + 1), strict=False))
    boxes = [
        (
            _placed(sketch_patch_box(pair.sketch_patch, grid), left, (panel, panel)),
            _placed(photo_box(pair.photo_patch), right, fitted.size),
        )
        for pair, _, _ in shown
    ]
    for (_, (colour, _), _), (from_box, to_box) in list(zip(shown, boxes, strict=True))[:lines]:
        _curve(draw, _middle(from_box), _middle(to_box), colour)
    # The best pair is drawn last: where two meet, it stays on top.
    for (_, (colour, ink), number), both in reversed(list(zip(shown, boxes, strict=True))):
        for box in both:
            _mark(draw, box, colour, ink, number)
    return canvas.reduce(_FINE)


def attention_picture(photo: Image.Image, explanation: PairExplanation, photo_box: Callable[[int], Box]) -> Image.Image:
    """Where in the photo the sketch as a whole looks: the photo in grey under a map from dark blue to yellow.

    Args:
        photo: upright, any shape.
        explanation: its `attention` [G * G] is drawn; its largest value is the lightest.
        photo_box: from a photo patch to its box in the photo, as shares of its sides.

    Returns:
        RGB, its longer side 480 pixels.
    """
    scale = 480 / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    field = _field(explanation.attention, size, photo_box)
    grey = np.asarray(photo.convert("L").resize(size), dtype=np.float32)[..., None]
    strength = field[..., None]
    blended = grey * (0.75 - 0.5 * strength) + _heat(field) * (0.25 + 0.5 * strength)
    return Image.fromarray(np.clip(blended, 0, 255).astype(np.uint8), "RGB")


def _field(values: NDArray[np.float32], size: tuple[int, int], photo_box: Callable[[int], Box]) -> NDArray[np.float32]:
    """Values of patches as a smooth field [H, W] in [0, 1]: a Gaussian on each patch, at half resolution."""
    wide, high = (max(1, side // 2) for side in size)
    xs, ys = (np.arange(wide) + 0.5) / wide, (np.arange(high) + 0.5) / high
    total = np.zeros((high, wide))
    top = float(values.max())
    for patch in np.flatnonzero(values > 0):
        x, y, width, height = photo_box(int(patch))
        if width <= 0 or height <= 0:
            continue
        across = np.exp(-0.5 * ((xs - x - width / 2) / (0.7 * width)) ** 2)
        down = np.exp(-0.5 * ((ys - y - height / 2) / (0.7 * height)) ** 2)
        total += values[patch] / top * np.outer(down, across)
    if total.max() > 0:
        total /= total.max()
    picture = Image.fromarray(total.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float32)


def _heat(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H, W] in [0, 1] -> [H, W, 3] in [0, 255]."""
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(field, stops, _HEAT[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def _placed(box: Box, corner: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box in shares of a picture -> left, top, right, bottom in pixels of the canvas."""
    x, y, width, height = box
    left, top = corner[0] + x * size[0], corner[1] + y * size[1]
    return (left, top, left + width * size[0], top + height * size[1])


def _middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _curve(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """A line that leaves and arrives level, white at its edges so that it shows on any photo."""
    t = np.linspace(0, 1, 48)[:, None]
    bend = (end[0] - start[0]) * 0.4
    points = np.array([start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end])
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    path = [(float(x), float(y)) for x, y in weights @ points]
    draw.line(path, fill="#ffffff", width=7 * _FINE, joint="curve")
    draw.line(path, fill=colour, width=4 * _FINE, joint="curve")


def _mark(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: str, ink: str, number: int
) -> None:
    left, top, right, bottom = box
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), outline="#ffffff", width=2 * _FINE)
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=colour, width=3 * _FINE)
    x, y = _middle(box)
    radius = 14 * _FINE
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="#ffffff", width=_FINE)
    draw.text((x, y), str(number), fill=ink, font=ImageFont.load_default(22 * _FINE), anchor="mm")
