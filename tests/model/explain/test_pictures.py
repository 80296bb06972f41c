"""The pictures show what they say: marks where the matches are, pieces where the ink is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from model.config import PreprocessConfig
from model.explain import (
    Correspondence,
    PairExplanation,
    PairMaps,
    Source,
    attention_picture,
    correspondences,
    overlay,
    photo_patch_box,
    synthesise,
)
from model.explain.pictures import PALETTE
from model.explain.synthesis import PAPER, choose_patches

GRID = 4


def box(patch: int) -> tuple[float, float, float, float]:
    return photo_patch_box(patch, GRID, PreprocessConfig(), width=200, height=100)


def quarters() -> Image.Image:
    """A photo whose four quarters have colours of their own."""
    photo = Image.new("RGB", (200, 200))
    for number, colour in enumerate(("red", "lime", "blue", "yellow")):
        photo.paste(
            colour, (100 * (number % 2), 100 * (number // 2), 100 * (number % 2) + 100, 100 * (number // 2) + 100)
        )
    return photo


def maps(weights: np.ndarray, sketch: list[int], photo: list[int]) -> PairMaps:
    weights = weights.astype(np.float32)
    rows, columns = np.arange(len(sketch)), np.arange(len(photo))
    return PairMaps(
        np.array(sketch), np.array(photo), weights, rows, columns, weights.sum(axis=0) / max(1, len(weights))
    )


def near(image: Image.Image, colour: str) -> np.ndarray:
    pixels = np.asarray(image, dtype=float)
    return np.asarray(np.abs(pixels - np.array(ImageColor.getrgb(colour))).max(axis=-1) < 30)


def test_the_overlay_marks_a_match_on_both_sides_in_one_colour() -> None:
    sketch, photo = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (200, 100), "white")
    pairs = [Correspondence(*patches, 0.9, mutual=True, clear=True) for patches in ((0, 15), (12, 3))]
    picture = overlay(sketch, photo, pairs, GRID, box, lines=0)
    assert picture.width == 960
    for number in range(2):
        coloured = near(picture, PALETTE[number][0])
        assert coloured[:, : picture.width // 2].sum() > 200, "on the sketch"
        assert coloured[:, picture.width // 2 :].sum() > 200, "on the photo"
    first = np.argwhere(near(picture, PALETTE[0][0]))
    left = first[first[:, 1] < 480]
    right = first[first[:, 1] >= 480]
    assert left[:, 0].mean() < 150, "patch 0 is at the sketch's top"
    assert left[:, 1].mean() < 150, "and at its left"
    assert right[:, 1].mean() > 820, "patch 15 is at the photo's right"
    joined = overlay(sketch, photo, pairs, GRID, box, lines=2)
    gap = slice(470, 490)
    assert near(joined, PALETTE[0][0])[:, gap].any(), "a line crosses from one picture to the other"
    assert not near(picture, PALETTE[0][0])[:, gap].any()
    unclear = overlay(sketch, photo, [replace(pair, clear=False) for pair in pairs], GRID, box)
    assert not near(unclear, PALETTE[0][0]).any(), "what is not worth showing is not drawn"


@pytest.mark.parametrize("size", [(200, 100), (90, 300), (1, 1)])
def test_the_overlay_takes_photos_of_any_shape(size: tuple[int, int]) -> None:
    pairs = [Correspondence(i, 15 - i, 0.5, mutual=True, clear=True) for i in range(12)]
    picture = overlay(Image.new("L", (64, 64), 255), Image.new("RGBA", size, "white"), pairs, GRID, box)
    assert picture.size[0] == 960
    assert picture.mode == "RGB"


def test_neighbouring_colours_of_the_palette_differ_in_lightness_or_hue_for_the_colour_blind() -> None:
    # Machado, Oliveira and Fernandes 2009, severity 1.0, applied in linear RGB.
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    colours = np.array([ImageColor.getrgb(colour) for colour, _ in PALETTE]) / 255
    for matrix in (np.eye(3), deuteranopia, protanopia):
        seen = np.clip(colours**2.2 @ matrix.T, 0, 1) ** (1 / 2.2)
        for a, b in itertools.combinations(seen, 2):
            assert np.linalg.norm(a - b) > 0.12


def test_attention_is_light_where_the_sketch_looks() -> None:
    attention = np.zeros(GRID * GRID, dtype=np.float32)
    attention[5] = 0.8
    explained = PairExplanation(
        GRID, 0.0, 0.5, np.ones(16, dtype=bool), maps(np.zeros((0, 0)), [], []), [], None, attention
    )
    picture = np.asarray(attention_picture(Image.new("RGB", (200, 200), "grey"), explained, box), dtype=float).sum(
        axis=2
    )
    assert picture.shape == (480, 480)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert 120 <= row < 240
    assert 120 <= column < 240
    assert picture[400, 400] < picture[180, 180] - 150


def test_each_inked_patch_is_replaced_by_its_match() -> None:
    # Four separate cells, far enough apart not to lend each other their pieces; each planted in another quarter.
    ink = np.zeros(16, dtype=bool)
    cells, patches = [0, 3, 12, 15], [15, 12, 3, 0]
    ink[cells] = True
    picture = synthesise(ink, [Source(quarters(), maps(np.eye(4), cells, patches))], GRID, size=240)
    pixels = np.asarray(picture)
    for cell, colour in zip(cells, ("yellow", "blue", "lime", "red"), strict=True):
        row, column = divmod(cell, GRID)
        assert tuple(pixels[row * 60 + 30, column * 60 + 30]) == pytest.approx(ImageColor.getrgb(colour), abs=12)
    assert (
        tuple(
            np.asarray(synthesise(np.zeros(16, dtype=bool), [Source(quarters(), maps(np.eye(4), cells, patches))], 4))[
                240, 240
            ]
        )
        == PAPER
    )


def test_a_universal_picture_takes_pieces_from_the_photo_that_matches_best() -> None:
    ink = np.zeros(16, dtype=bool)
    ink[[0, 15]] = True
    red, blue = (Image.new("RGB", (100, 100), colour) for colour in ("red", "blue"))
    sources = [
        Source(red, maps(np.array([[0.9], [0.1]]), [0, 15], [5])),
        Source(blue, maps(np.array([[0.2], [0.7]]), [0, 15], [5])),
    ]
    assert choose_patches(ink, sources, GRID) == {0: (0, 5), 15: (1, 5)}
    pixels = np.asarray(synthesise(ink, sources, GRID, size=240))
    assert tuple(pixels[30, 30]) == (255, 0, 0)
    assert tuple(pixels[210, 210]) == (0, 0, 255)


def test_a_cell_that_the_encoder_dropped_continues_its_neighbours_piece() -> None:
    ink = np.zeros(16, dtype=bool)
    ink[[5, 6]] = True
    chosen = choose_patches(ink, [Source(quarters(), maps(np.array([[0.9, 0.1]]), [5], [9, 0]))], GRID)
    assert chosen == {5: (0, 9), 6: (0, 10)}


def test_nothing_matched_gives_an_empty_paper() -> None:
    empty = Source(quarters(), maps(np.zeros((0, 4)), [], [0, 1, 2, 3]))
    pixels = np.asarray(synthesise(np.ones(16, dtype=bool), [empty], GRID, size=80))
    assert (pixels == np.array(PAPER)).all()
    assert correspondences(empty.maps) == []
