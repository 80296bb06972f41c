"""Which drawings are no more than a dot or one straight line."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from PIL import Image, ImageDraw

from model.images.little_ink import has_little_ink
from model.images.preprocess import sketch_image
from model.presets import ZSE_LITE

CONFIG = ZSE_LITE.preprocess
FINER = 3  # drawn so many times as large and made smaller: the edges of Pillow's own lines are rough


def little(draw, size=448, width=6):
    image = Image.new("L", (FINER * size, FINER * size), 255)
    draw(Pen(image, FINER * width))
    image = image.resize((size, size), Image.Resampling.BOX).convert("RGB")
    return has_little_ink(sketch_image(image, CONFIG))


class Pen:
    """A round pen on a paper of 448 units, whatever its pixels are."""

    def __init__(self, image, width):
        self.on, self.width, self.unit = ImageDraw.Draw(image), width, image.width / 448

    def line(self, *points):
        scaled = [(self.unit * x, self.unit * y) for x, y in points]
        for (x, y), (to_x, to_y) in pairwise(scaled):
            steps = math.ceil(math.hypot(to_x - x, to_y - y)) or 1
            for step in range(steps + 1):
                self.dot(x + (to_x - x) * step / steps, y + (to_y - y) * step / steps)

    def dot(self, x, y):
        half = self.width / 2
        self.on.ellipse((x - half, y - half, x + half, y + half), fill=0)

    def curve(self, across, up, *, turns, bow=0.0):
        """From left to right, `turns` half waves `up` high, on a bow."""
        steps = [step / 60 for step in range(61)]
        self.line(
            *(
                (30 + across * at, 220 - up * math.sin(turns * math.pi * at) - bow * math.sin(math.pi * at))
                for at in steps
            )
        )

    def ring(self, x, y, half_wide, half_high):
        self.line(*((x + half_wide * math.cos(at / 9.5), y + half_high * math.sin(at / 9.5)) for at in range(61)))

    def solid(self, shape, *corners):
        getattr(self.on, shape)([self.unit * value for value in corners], fill=0)


@pytest.mark.parametrize("size", [256, 448])
@pytest.mark.parametrize("width", [2, 6, 21])
def test_a_dot_and_a_straight_line_are_caught_whatever_the_pen_and_the_paper(width, size):
    assert little(lambda pen: pen.line((200, 200), (200, 200)), size, width)
    assert little(lambda pen: pen.line((200, 200), (215, 205)), size, width)
    assert little(lambda pen: pen.line((100, 100), (180, 130)), size, width)
    assert little(lambda pen: pen.line((20, 20), (420, 420)), size, width)
    assert little(lambda pen: pen.line((20, 200), (420, 200)), size, width)
    assert little(lambda pen: pen.curve(380, 6, turns=3, bow=8), size, width), "a hand is not a ruler"


@pytest.mark.parametrize("size", [256, 448])
@pytest.mark.parametrize("width", [2, 6, 14])
def test_the_simplest_drawings_are_not(width, size):
    def spoon(pen):
        pen.ring(80, 220, 50, 32)
        pen.line((130, 220), (420, 220))

    def broom(pen):
        pen.line((40, 220), (330, 220))
        for end in (170, 205, 240, 270):
            pen.line((330, 220), (420, end))

    def tee(pen):
        pen.line((60, 60), (380, 60))
        pen.line((220, 60), (220, 420))

    assert not little(spoon, size, width)
    assert not little(broom, size, width)
    assert not little(tee, size, width)
    assert not little(lambda pen: pen.curve(380, 60, turns=1), size, width), "an arc"
    assert not little(lambda pen: pen.curve(380, 60, turns=2), size, width), "an S"
    assert not little(lambda pen: pen.line((100, 40), (100, 400), (190, 400)), size, width), "an L"
    assert not little(lambda pen: pen.line((40, 400), (220, 40), (400, 400)), size, width), "an open angle"
    assert not little(lambda pen: pen.ring(220, 220, 150, 150), size, width)


@pytest.mark.parametrize("size", [256, 448])
def test_large_filled_shapes_and_thin_loops_are_drawings(size):
    assert not little(lambda pen: pen.solid("ellipse", 80, 80, 360, 360), size)
    assert not little(lambda pen: pen.solid("rectangle", 80, 80, 360, 360), size)
    assert not little(lambda pen: pen.ring(220, 220, 200, 16), size), "a pencil"
