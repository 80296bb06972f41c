"""Which drawings have so little ink that they tell hardly anything."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from model.images.little_ink import has_little_ink
from model.images.preprocess import sketch_tensor
from model.presets import ZSE_LITE


def little(draw, size=448, width=6):
    image = Image.new("RGB", (size, size), "white")
    draw(ImageDraw.Draw(image), width)
    return has_little_ink(sketch_tensor(image, ZSE_LITE.preprocess), ZSE_LITE.preprocess)


def at(scale, *points):
    return [(10 + scale * x, 10 + scale * y) for x, y in points]


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("width", [3, 8])
def test_a_dot_and_a_line_have_little_ink_whatever_their_size(scale, width):
    assert little(lambda pen, w: pen.ellipse((100, 100, 100 + w * scale, 100 + w * scale), fill=0), width=width)
    assert little(lambda pen, w: pen.line(at(scale, (10, 10), (180, 60)), fill=0, width=w), width=width)
    assert little(lambda pen, w: pen.line(at(scale, (10, 10), (10, 150), (60, 150)), fill=0, width=w), width=width)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_the_simplest_drawings_have_enough(scale):
    circle, cross = at(scale, (10, 10), (180, 180)), at(scale, (10, 10), (180, 180), (180, 10), (10, 180))
    assert not little(lambda pen, w: pen.ellipse([*circle[0], *circle[1]], outline=0, width=w))
    assert not little(lambda pen, w: [pen.line(cross[:2], fill=0, width=w), pen.line(cross[2:], fill=0, width=w)])
    assert not little(lambda pen, w: pen.line(at(scale, (10, 180), (90, 20), (170, 180)), fill=0, width=w))
    assert not little(lambda pen, _: pen.rectangle([*circle[0], *circle[1]], fill=0))
    assert not little(lambda pen, _: pen.ellipse([*circle[0], *circle[1]], fill=0))
