"""Contours of photos as drawings: where they lie, what they leave out, and that they repeat."""

from dataclasses import replace

import pytest
import torch

from model.data.contours import ContourStyle, contours, hysteresis, thinned_gradient, without_specks
from model.data.pixels import blurred

SIDE = 48
STEADY = ContourStyle(spread=1.0, guided=0.0)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def square(low=12, high=36, dark=20, light=230):
    """[1, 3, S, S] uint8: a dark square on a light ground."""
    pixels = torch.full((1, 3, SIDE, SIDE), light, dtype=torch.uint8)
    pixels[..., low:high, low:high] = dark
    return pixels


def test_they_are_dark_lines_on_white_along_the_outline():
    drawn = contours(square().expand(4, -1, -1, -1), None, draws(), STEADY)
    assert drawn.shape == (4, 1, SIDE, SIDE)
    assert drawn.dtype == torch.uint8
    assert set(drawn.unique().tolist()) == {0, 255}
    for image in drawn[:, 0]:
        dark = image == 0
        assert 0.02 < float(dark.float().mean()) < 0.4
        rows, columns = dark.nonzero().T
        beside = torch.stack([(rows - edge).abs() for edge in (12, 35)] + [(columns - edge).abs() for edge in (12, 35)])
        assert int(beside.amin(dim=0).max()) <= 4, "no line away from the square's sides"
        assert bool(dark[9:15, 24].any()), "the upper side is drawn"
        assert not bool(dark[24, 20:28].any()), "the inside is white"


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_photo_without_edges_gives_a_white_page(value):
    plain = torch.full((2, 3, SIDE, SIDE), value, dtype=torch.uint8)
    assert bool((contours(plain, None, draws()) == 255).all())


def test_an_image_does_not_depend_on_its_neighbour():
    """A blank photo beside a drawn one: thresholds are each image's own."""
    both = contours(torch.cat([square(), torch.full_like(square(), 90)]), None, draws(), STEADY)
    assert bool((both[0] == 0).any())
    assert bool((both[1] == 255).all())


def test_the_generator_alone_decides_and_no_two_styles_are_alike():
    pixels = torch.randint(0, 256, (6, 3, SIDE, SIDE), generator=draws(1), dtype=torch.uint8)
    objects = torch.rand(6, 3, 3, generator=draws(2))
    first = contours(pixels, objects, draws(3))
    torch.manual_seed(99)
    assert torch.equal(contours(pixels, objects, draws(3)), first)
    assert not torch.equal(contours(pixels, objects, draws(4)), first)


def test_no_images_give_no_drawings():
    assert contours(square()[:0], None, draws()).shape == (0, 1, SIDE, SIDE)
    assert contours(square()[:0], torch.zeros(0, 3, 3), draws()).shape == (0, 1, SIDE, SIDE)


def test_contours_outside_the_object_are_lost():
    two = torch.full((1, 3, SIDE, 2 * SIDE), 230, dtype=torch.uint8)
    two[..., 14:34, 10:30] = 20
    two[..., 14:34, 66:86] = 20
    objects = torch.zeros(1, 4, 8)
    objects[..., :4] = 1.0
    style = replace(STEADY, quantile=0.5)
    left, right = (slice(0, SIDE), slice(SIDE, None))
    everywhere = contours(two, objects, draws(), style)
    guided = contours(two, objects, draws(), replace(style, guided=1.0, elsewhere=0.0))
    assert bool((everywhere[..., right] == 0).any())
    assert bool((guided[..., left] == 0).any())
    assert not bool((guided[..., right] == 0).any())


@pytest.mark.parametrize("turned", [False, True])
def test_a_step_is_thinned_to_a_line_of_one_pixel(turned):
    grey = torch.zeros(1, 1, 16, 16)
    grey[..., 8:] = 1.0
    thin = thinned_gradient(grey.transpose(2, 3) if turned else grey)[0, 0]
    thin = thin.T if turned else thin
    assert (thin[2:-2] > 0).sum(dim=1).tolist() == [1] * 12
    assert float(thin.max()) == 4.0  # Sobel's kernel sums to 4 on a step of 1
    assert not bool(thin[:2].any())
    assert not bool(thin[-2:].any())


@pytest.mark.parametrize("rising", [False, True])
def test_a_slanting_step_is_thinned_across_itself(rising):
    row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    grey = ((row + column >= 16) if rising else (row >= column)).float()[None, None]
    count = (thinned_gradient(blurred(grey))[0, 0, 2:-2, 2:-2] > 0).sum(dim=1)
    assert set(count.tolist()) <= {1, 2}, "two pixels of a row are as near to the step; along it there would be none"


def test_a_weak_contour_goes_on_where_a_strong_one_touches_it():
    strength = torch.zeros(1, 1, 9, 9)
    strength[0, 0, 1, 1:8] = 0.5
    strength[0, 0, 1, 1] = 2.0
    strength[0, 0, 7, 1:8] = 0.5  # as weak, but nothing strong begins it
    lines = hysteresis(strength, torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 0.25))
    assert torch.equal(lines[0, 0, 1], strength[0, 0, 1] > 0)
    assert int(lines.sum()) == 7


def test_specks_go_and_lines_stay():
    lines = torch.zeros(1, 1, 30, 30, dtype=torch.bool)
    lines[0, 0, 5, 3:27] = True
    lines[0, 0, 20, 14:17] = True
    kept = without_specks(lines)[0, 0]
    assert bool(kept[5, 6:24].all())
    assert not bool(kept[20].any())
