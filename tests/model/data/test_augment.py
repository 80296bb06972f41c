from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import PreprocessConfig
from model.data.augment import augment_photos, augment_sketches, plain
from model.data.pixels import affine_grid, blurred, box_mask, lower_resolution, narrowed, widened
from model.data.strengths import PhotoAugment, SketchAugment

CONFIG = PreprocessConfig(image_size=48)
OFF = {"crop": 1.0, "aspect": 1.0, "scale": 1.0}


def off(kind):
    """Every step turned off."""
    neutral = {}
    for entry in fields(kind):
        value = OFF.get(entry.name, 0)
        neutral[entry.name] = entry.default if isinstance(entry.default, tuple) else value
    return replace(kind(), **neutral)


def sketches(count=6, size=64):
    pixels = torch.full((count, 1, size, size), 255, dtype=torch.uint8)
    for row in range(count):
        pixels[row, 0, 10 + row : 12 + row, 8:50] = 0
        pixels[row, 0, 10:52, 20 + row : 22 + row] = 0
    return pixels


def photos(count=6, size=64):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("augment", "pixels", "strength"),
    [(augment_sketches, sketches(), SketchAugment()), (augment_photos, photos(), PhotoAugment())],
)
def test_output_is_the_networks_input_and_follows_the_generator(augment, pixels, strength):
    def run(seed):
        return augment(pixels, CONFIG, strength, torch.Generator().manual_seed(seed))

    images = run(0)
    assert images.shape == (6, 3, 48, 48)
    assert images.dtype == torch.float32
    assert images.min() >= -1.0001
    assert images.max() <= 1.0001
    assert torch.equal(images, run(0))
    assert not torch.equal(images, run(1))
    assert len({image.numpy().tobytes() for image in images}) == 6


@pytest.mark.parametrize(
    ("augment", "pixels", "strength"),
    [(augment_sketches, sketches(), off(SketchAugment)), (augment_photos, photos(), off(PhotoAugment))],
)
def test_all_steps_off_is_no_change(augment, pixels, strength):
    config = PreprocessConfig(image_size=64)
    images = augment(pixels, config, strength, torch.Generator().manual_seed(0))
    torch.testing.assert_close(images, plain(pixels, config), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [entry.name for entry in fields(SketchAugment)])
def test_every_step_of_sketches_changes_something(name):
    neutral = off(SketchAugment)
    needs = {"gap_count": "gaps", "gap_side": "gaps", "faintest": "faint", "sides": "bitmap"}
    changed = replace(neutral, **{name: getattr(SketchAugment(), name)})
    if name in ("width", "faint", "pressure", "gaps", "bitmap", "paper", "blur", "flip"):
        changed = replace(changed, **{name: 1.0})
    if name in needs:
        changed = replace(changed, **{needs[name]: 1.0})
    if name in ("gaps", "gap_side"):
        changed = replace(changed, gap_count=3, gap_side=0.3)
    config = PreprocessConfig(image_size=64)
    images = augment_sketches(sketches(), config, changed, torch.Generator().manual_seed(0))
    difference = (images - plain(sketches(), config)).abs().amax(dim=(1, 2, 3))
    assert (difference > 0.05).sum() >= 4  # of 6; a random strength may be near none


@given(st.integers(0, 5000))
@settings(max_examples=20)
def test_a_sketch_never_vanishes_and_the_ground_stays_light(seed):
    images = augment_sketches(sketches(16), CONFIG, SketchAugment(), torch.Generator().manual_seed(seed))
    darkness = images.amax(dim=(1, 2, 3)) - images.mean(dim=1).amin(dim=(1, 2))
    assert (darkness > 0.1).all()
    assert (images.mean(dim=(1, 2, 3)) > 0).all()


def test_augmentation_of_a_generator_on_another_device_needs_no_copy_of_its_state():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    augment_photos(photos(2), CONFIG, PhotoAugment(), generator)
    assert not torch.equal(before, generator.get_state())


def test_wider_and_narrower_lines_are_max_and_min_pooling():
    ink = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(widened(ink), torch.nn.functional.max_pool2d(ink, 3, 1, 1))
    torch.testing.assert_close(narrowed(ink)[..., 1:-1, 1:-1], -torch.nn.functional.max_pool2d(-ink, 3, 1, 0))


def test_low_resolution_loses_detail_of_the_chosen_images_alone():
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    result = lower_resolution(images, torch.tensor([-1, 0, 1]), (8, 64))
    assert torch.equal(result[0], images[0])
    assert torch.equal(result[2], images[2])
    assert result[1].std() < images[1].std() / 2
    torch.testing.assert_close(result[1].mean(), images[1].mean(), atol=0.02, rtol=0)


def test_a_blur_keeps_flat_images_and_the_mean():
    flat = torch.full((1, 3, 16, 16), 0.4)
    torch.testing.assert_close(blurred(flat), flat)
    point = torch.zeros(1, 1, 16, 16)
    point[0, 0, 8, 8] = 1
    assert blurred(point).sum() == pytest.approx(1)


def test_boxes_lie_where_they_are_put():
    mask = box_mask(10, torch.tensor([[[0.2, 0.5], [0.8, 0.5]]]), torch.tensor([[[0.1, 0.2], [0.0, 0.0]]]))
    assert mask.sum() == 2 * 4
    assert mask[0, 3:7, 1:3].all()


@pytest.mark.parametrize(
    ("angle", "scale", "shift", "flip", "expected"),
    [
        (0.0, 1.0, (0.0, 0.0), False, (12, 4)),
        (0.0, 1.0, (0.5, 0.25), False, (20, 8)),
        (0.0, 1.0, (0.0, 0.0), True, (19, 4)),
        (0.0, 0.5, (0.0, 0.0), False, (14, 10)),
        (torch.pi / 2, 1.0, (0.0, 0.0), False, (4, 19)),
    ],
)
def test_the_affine_grid_moves_a_point_as_its_arguments_say(angle, scale, shift, flip, expected):
    """A dot at column 12, row 4 of 32 x 32; a counter-clockwise quarter turn brings the top to the left."""
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 4, 12] = 1
    grid = affine_grid(
        32,
        angle=torch.tensor([angle]),
        scale_x=torch.tensor([scale]),
        scale_y=torch.tensor([scale]),
        shear=torch.zeros(1),
        shift=torch.tensor([shift]),
        flip=torch.tensor([flip]),
    )
    moved = torch.nn.functional.grid_sample(image, grid, align_corners=False)[0, 0]
    row, column = divmod(int(moved.argmax()), 32)
    assert abs(column - expected[0]) <= 1
    assert abs(row - expected[1]) <= 1
