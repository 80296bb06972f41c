"""Draws strokes, as a canvas or Quick, Draw! sends them, as a sketch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from model.errors import StrokesError

_SUPERSAMPLING = 4
_SMALLEST_EXTENT = 1e-12  # of the largest coordinate: anything smaller is rounding, and magnifying it overflows


def draw_strokes(
    strokes: Sequence[Sequence[Sequence[float]]], size: int = 256, line_width: float = 3.0, margin: float = 10.0
) -> Image.Image:
    """Black strokes on white, aspect ratio kept, centred and scaled to fill the canvas.

    Args:
        strokes: per stroke [[x...], [y...]] (further rows, such as times, are ignored), in any range of coordinates;
            y grows downwards.
        size: side of the square canvas, in pixels.
        line_width: in pixels of the canvas.
        margin: blank pixels kept on each side.

    Returns:
        RGB image, size x size.

    Raises:
        StrokesError: no strokes or points, rows of different length, or coordinates that are not finite numbers.
    """
    points = [_points(stroke, index) for index, stroke in enumerate(_rows(strokes))]
    if not points:
        raise StrokesError("there are no strokes; draw something")
    every = np.concatenate(points)
    # Divided before anything is subtracted: coordinates near the largest float must not overflow.
    magnitude = max(float(np.abs(every).max()), np.finfo(np.float64).tiny)
    low, high = every.min(axis=0) / magnitude, every.max(axis=0) / magnitude
    extent = float((high - low).max())
    room = max(size - 2 * margin - line_width, 1.0)
    scale = room / extent if extent > _SMALLEST_EXTENT else 0.0
    canvas = Image.new("L", (size * _SUPERSAMPLING, size * _SUPERSAMPLING), 255)
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(line_width * _SUPERSAMPLING))
    for stroke in points:
        placed = ((stroke / magnitude - (low + high) / 2) * scale + size / 2) * _SUPERSAMPLING
        _draw(pen, placed, width)
    return canvas.reduce(_SUPERSAMPLING).convert("RGB")


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, width: int) -> None:
    flat = [(float(x), float(y)) for x, y in points]
    if len(flat) > 1:
        pen.line(flat, fill=0, width=width, joint="curve")
    radius = width / 2
    for x, y in (flat[0], flat[-1]):  # round caps; a stroke of one point is a dot
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)


def _rows(strokes: object) -> Sequence[object]:
    if not isinstance(strokes, Sequence) or isinstance(strokes, (str, bytes)):
        raise StrokesError("strokes must be a list with [[x...], [y...]] per stroke")
    return strokes


def _points(stroke: object, index: int) -> np.ndarray:
    """[points, 2] float64."""
    if not isinstance(stroke, Sequence) or isinstance(stroke, (str, bytes)) or len(stroke) < 2:
        raise StrokesError(f"stroke {index} must be [[x...], [y...]]")
    try:
        x, y = (np.asarray(row, dtype=np.float64) for row in stroke[:2])
    except (TypeError, ValueError, OverflowError) as error:
        raise StrokesError(f"stroke {index} has coordinates that are no numbers") from error
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise StrokesError(f"stroke {index} needs as many x as y, and at least one of each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise StrokesError(f"stroke {index} has coordinates that are not finite")
    return np.stack([x, y], axis=1)
