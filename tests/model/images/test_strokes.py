"""Strokes become a sketch, or one typed error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import PreprocessConfig
from model.errors import StrokesError
from model.images.preprocess import draw_strokes, sketch_tensor

SQUARE = [[[0, 10, 10, 0, 0], [0, 0, 10, 10, 0]]]


def ink_box(image: Any) -> list[int]:
    rows, columns = np.nonzero(np.asarray(image.convert("L")) < 128)
    return [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]


def test_drawing_fills_the_canvas_inside_the_margin() -> None:
    image = draw_strokes(SQUARE, size=256, line_width=3, margin=10)
    assert image.mode == "RGB"
    assert image.size == (256, 256)
    assert ink_box(image) == pytest.approx([10, 10, 245, 245], abs=1)


def test_aspect_ratio_is_kept_and_y_grows_downwards() -> None:
    image = draw_strokes([[[0, 100], [0, 50]]], size=200, line_width=2, margin=0)
    left, top, right, bottom = ink_box(image)
    assert (right - left) / (bottom - top) == pytest.approx(2, abs=0.05)
    pixels = np.asarray(image.convert("L"))
    assert pixels[:, :20].argmin() // 20 < 100  # it starts above the middle, on the left


def test_lines_are_as_wide_as_asked_and_antialiased() -> None:
    pixels = np.asarray(draw_strokes([[[0, 1], [0, 0]]], size=100, line_width=6).convert("L"), dtype=float)
    assert ((255 - pixels[:, 50]) / 255).sum() == pytest.approx(6, abs=0.5)
    slanted = np.asarray(draw_strokes([[[0, 3], [0, 2]]], size=100).convert("L"))
    assert ((slanted > 40) & (slanted < 215)).any()


def test_scale_and_offset_of_the_coordinates_do_not_matter() -> None:
    expected = np.asarray(draw_strokes([[[0, 1, 2], [0, 3, 1]]]))
    for scale, offset in [(7, 3), (1e-6, 0), (1e6, -5e5), (1e-300, 0), (5e307, 0)]:
        moved = [[[x * scale + offset for x in row] for row in stroke] for stroke in [[[0, 1, 2], [0, 3, 1]]]]
        difference = np.abs(np.asarray(draw_strokes(moved)).astype(int) - expected)
        assert difference.mean() < 0.5, (scale, offset)


def test_one_point_is_a_dot_in_the_middle() -> None:
    image = draw_strokes([[[5], [7]]], size=64, line_width=8)
    left, top, right, bottom = ink_box(image)
    assert (left + right) / 2 == pytest.approx(31.5, abs=1)
    assert (top + bottom) / 2 == pytest.approx(31.5, abs=1)
    assert sketch_tensor(image, PreprocessConfig(image_size=64)).min() < -0.9


def test_times_beside_the_coordinates_are_ignored() -> None:
    timed = [[[0, 10], [0, 5], [0, 130]]]
    assert draw_strokes(timed).tobytes() == draw_strokes([[[0, 10], [0, 5]]]).tobytes()


BAD: dict[str, Any] = {
    "no strokes": [],
    "empty stroke": [[]],
    "no points": [[[], []]],
    "one row": [[[1, 2]]],
    "unequal rows": [[[1, 2], [1]]],
    "not a number": [[[1, math.nan], [1, 2]]],
    "infinite": [[[1, math.inf], [1, 2]]],
    "text": [[["a", "b"], [1, 2]]],
    "text as stroke": ["ab"],
    "text as strokes": "ab",
    "a number": 3,
    "nothing": None,
    "numbers for rows": [[1, 2]],
    "nested": [[[[1, 2]], [[3, 4]]]],
    "ragged": [[[1, [2]], [1, 2]]],
    "missing": [[[1, None], [1, 2]]],
    "a mapping": {"x": [1]},
    "huge integer": [[[10**400], [1]]],
    "complex": [[[1j], [1]]],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_strokes_are_named(name: str) -> None:
    with pytest.raises(StrokesError, match="stroke") as caught:
        draw_strokes(BAD[name])
    assert caught.value.code == "bad_strokes"


@settings(max_examples=60, deadline=None)
@given(
    strokes=st.lists(
        st.lists(
            st.tuples(
                st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False)
            ),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_finite_strokes_leave_ink_on_the_canvas(strokes: list[list[tuple[float, float]]]) -> None:
    image = draw_strokes([[[x for x, _ in stroke], [y for _, y in stroke]] for stroke in strokes], size=64)
    pixels = np.asarray(image.convert("L"))
    assert pixels.shape == (64, 64)
    assert pixels.min() < 128
    assert pixels[0].min() == 255


@settings(max_examples=100, deadline=None)
@given(
    strokes=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=12,
    )
)
def test_any_json_is_drawn_or_refused(strokes: Any) -> None:
    try:
        image = draw_strokes(strokes, size=32)
    except StrokesError:
        return
    assert image.size == (32, 32)
