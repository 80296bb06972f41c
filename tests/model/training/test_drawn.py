"""Drawings that have a photo of their own: which photo it is, and that both are mirrored together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.data.arrays import ImageArrays
from model.data.augment import plain
from model.data.contours import contours
from model.data.items import Item, Modality
from model.data.strengths import PhotoAugment, SketchAugment
from model.presets import ZSE_TINY
from model.training.config import TrainConfig
from model.training.drawn import UNKNOWN, DrawnMaker, OwnPhotos

SIDE, PHOTOS, SKETCHES, UNDRAWN, CLASSES = 64, 8, 6, 5, 4
PREPROCESS = ZSE_TINY.preprocess
AS_THEY_ARE = TrainConfig(
    contours=3,
    pairs=3,
    undrawn=2,
    photos=PhotoAugment(
        crop=1.0, aspect=1.0, turn=0.0, flip=0.5, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0,
        low_resolution=0.0, blur=0.0, cutout=0.0,
    ),
    sketches=SketchAugment(
        turn=0.0, scale=1.0, aspect=1.0, shear=0.0, shift=0.0, flip=0.5, elastic=0.0, tremble=0.0, width=0.0,
        faint=0.0, pressure=0.0, gaps=0.0, bitmap=0.0, paper=0.0, blur=0.0,
    ),
)  # fmt: skip
PAIRS = torch.tensor([[0, 3], [1, 4], [2, 4], [4, 5], [5, 6]])  # two drawings of photo 4


def draws(seed):
    return torch.Generator().manual_seed(seed)


def arrays(count, channels, seed):
    modality: Modality = "photo" if channels == 3 else "sketch"
    items = tuple(Item(Path(f"{seed}-{row}.png"), "ant", modality) for row in range(count))
    coarse = torch.randint(0, 256, (count, channels, 4, 4), generator=draws(seed), dtype=torch.uint8)
    pixels = coarse.repeat_interleave(SIDE // 4, 2).repeat_interleave(SIDE // 4, 3)
    return ImageArrays(pixels, torch.arange(count), items, ("ant",) * count)


SEEN, DRAWN, OTHERS = arrays(PHOTOS, 3, 1), arrays(SKETCHES, 1, 2), arrays(UNDRAWN, 3, 3)
TARGETS, OTHER_TARGETS = (torch.rand(count, CLASSES, generator=draws(count)) for count in (PHOTOS, UNDRAWN))


def maker(config=AS_THEY_ARE, targets=TARGETS, **own):
    known = OwnPhotos(**{"pairs": PAIRS, "undrawn": OTHERS, "undrawn_targets": OTHER_TARGETS, **own})
    return DrawnMaker(SEEN, DRAWN, targets, known, preprocess=PREPROCESS, config=config)


def step(made, rows=(0, 1, 2), seed=5):
    """The photos of a step before they are mirrored, which are mirrored, and the drawings."""
    rows = torch.tensor(rows)
    _, flipped = made.mirror(SEEN.pixels[rows], draws(seed + 100))
    return flipped, made.make(SEEN.pixels[rows], rows, flipped, draws(seed), draws(seed + 1))


def match(image, candidates):
    """(row, mirrored) of the candidate that an image is."""
    for mirrored in (False, True):
        ready = plain(candidates.flip(-1) if mirrored else candidates, PREPROCESS)
        far = (ready - image).abs().amax(dim=(1, 2, 3))
        if float(far.min()) < 0.02:
            return int(far.argmin()), mirrored
    raise AssertionError("it is none of them")


def test_a_pair_stays_a_pair_and_is_mirrored_together():
    met = set()
    for seed in range(12):
        _, drawn = step(maker(replace(AS_THEY_ARE, contours=0, undrawn=0)), seed=seed)
        assert len(drawn.drawings) == len(drawn.photos) == 3
        assert drawn.own.tolist() == [3, 4, 5], "behind the step's three photos"
        photos = []
        for drawing, photo, label, target in zip(
            drawn.drawings, drawn.photos, drawn.labels, drawn.targets, strict=True
        ):
            sketch, sketch_mirrored = match(drawing, DRAWN.pixels)
            own, photo_mirrored = match(photo, SEEN.pixels)
            assert [sketch, own] in PAIRS.tolist()
            assert sketch_mirrored == photo_mirrored
            assert int(label) == own
            torch.testing.assert_close(target, TARGETS[own])
            photos.append(own)
            met.add(sketch_mirrored)
        assert len(set(photos)) == 3, "no photo is there twice"
        assert torch.equal(drawn.labels, drawn.photo_labels)
        assert torch.equal(drawn.targets, drawn.photo_targets)
    assert met == {False, True}


def test_a_photo_of_the_step_is_not_there_again_with_a_pair():
    for seed in range(12):
        _, drawn = step(maker(replace(AS_THEY_ARE, contours=0, undrawn=0)), rows=(3, 4, 7), seed=seed)
        assert sorted(match(photo, SEEN.pixels)[0] for photo in drawn.photos) == [5, 6]


def contours_of(pixels, flipped, noise):
    lines = contours(pixels, None, noise)
    return plain(torch.where(flipped[:, None, None, None], lines.flip(-1), lines), PREPROCESS)


def test_contours_lie_as_their_photo_does_mirrored_or_not():
    met = set()
    for seed in range(6):
        flipped, drawn = step(maker(replace(AS_THEY_ARE, pairs=0, undrawn=0)), seed=seed)
        assert sorted(drawn.own.tolist()) == [0, 1, 2]
        assert len(drawn.photos) == len(drawn.photo_labels) == 0
        assert drawn.photos.shape[1:] == (3, SIDE, SIDE)
        assert drawn.labels.tolist() == drawn.own.tolist()
        torch.testing.assert_close(drawn.targets, TARGETS[drawn.own])
        assert drawn.photo_targets.shape == (0, CLASSES)
        expected = contours_of(SEEN.pixels[drawn.own], flipped[drawn.own], draws(seed + 1))
        torch.testing.assert_close(drawn.drawings, expected, atol=0.02, rtol=0)
        met |= set(flipped.tolist())
    assert met == {False, True}


def test_photos_without_drawings_come_with_their_contours_and_no_label():
    for seed in range(4):
        _, drawn = step(maker(replace(AS_THEY_ARE, contours=0, pairs=0)), seed=seed)
        assert drawn.own.tolist() == [3, 4]
        assert drawn.labels.tolist() == drawn.photo_labels.tolist() == [UNKNOWN] * 2
        rows = [match(photo, OTHERS.pixels) for photo in drawn.photos]
        torch.testing.assert_close(drawn.targets, OTHER_TARGETS[[row for row, _ in rows]])
        noise = draws(seed + 1)
        torch.rand(2, generator=noise)  # which of the photos are mirrored is drawn first
        expected = contours_of(OTHERS.pixels[[row for row, _ in rows]], torch.tensor([m for _, m in rows]), noise)
        torch.testing.assert_close(drawn.drawings, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("known", [True, False], ids=["with targets", "without"])
def test_all_three_kinds_follow_each_other(known):
    made = maker() if known else maker(targets=None, undrawn_targets=None)
    _, drawn = step(made)
    assert sorted(drawn.own[:3].tolist()) == [0, 1, 2]
    assert drawn.own[3:].tolist() == list(range(3, 8))
    assert len(drawn.drawings) == len(drawn.labels) == 8
    assert len(drawn.photos) == len(drawn.photo_labels) == 5
    assert drawn.labels[3:].tolist() == drawn.photo_labels.tolist()
    assert (drawn.targets is not None) == (drawn.photo_targets is not None) == known
    if known:
        assert drawn.targets.shape == (8, CLASSES)
        assert torch.equal(drawn.targets[3:], drawn.photo_targets)


def test_the_same_generators_give_the_same_drawings():
    _, first = step(maker())
    torch.manual_seed(1)
    _, again = step(maker())
    _, other = step(maker(), seed=6)
    assert torch.equal(first.drawings, again.drawings)
    assert torch.equal(first.photos, again.photos)
    assert not torch.equal(first.photos, other.photos)


def test_objects_of_the_photos_that_are_drawn_guide_their_contours():
    nowhere = torch.zeros(PHOTOS, 4, 4)
    nowhere[1] = 1.0
    seen = set()
    for seed in range(6):
        for objects in (None, nowhere):
            _, drawn = step(maker(replace(AS_THEY_ARE, pairs=0, undrawn=0), objects=objects), seed=seed)
            place = drawn.own.tolist().index(1)
            seen.add((seed, drawn.drawings[place].numpy().tobytes()))
    assert len(seen) == 6, "a photo that is all object is drawn as without a map"


def test_without_anything_to_draw_there_is_nothing():
    none = torch.zeros(0, 2, dtype=torch.int64)
    _, drawn = step(maker(replace(AS_THEY_ARE, contours=0), pairs=none, undrawn=None, undrawn_targets=None))
    assert len(drawn.drawings) == len(drawn.photos) == len(drawn.own) == len(drawn.labels) == 0
