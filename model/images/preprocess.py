"""The only code that turns an image into the network's input: for training, building galleries and serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from model.config import PreprocessConfig
from model.errors import BlankSketchError
from model.images.appearance import photo_rgb
from model.images.cleanup.clean_drawings import clean_drawing_box, is_negative
from model.images.cleanup.dark_margins import without_dark_margins
from model.images.cleanup.line_width import with_line_width
from model.images.cleanup.sketch_cleanup import WORKING_SIDE, clean_sketch
from model.images.modes import alpha_of, to_rgb
from model.images.strokes import draw_strokes

if TYPE_CHECKING:
    import torch

__all__ = [
    "SKETCH_LONGEST_SIDE",
    "channels_first",
    "draw_strokes",
    "normalised",
    "photo_image",
    "photo_tensor",
    "sketch_image",
    "sketch_tensor",
    "to_tensor",
]

SKETCH_LONGEST_SIDE = WORKING_SIDE
"""What to pass as `longest_side` when opening a sketch: clean-up needs more pixels than the network's input has."""

_USUAL_EXTENT = 200  # longer side, in pixels, of the drawings that upstream's margin in pixels was made for


def photo_tensor(image: Image.Image, config: PreprocessConfig) -> torch.Tensor:
    """[3, S, S] float32, normalised; S = `config.image_size`. Any Pillow mode."""
    return to_tensor(photo_image(image, config), config)


def sketch_tensor(image: Image.Image, config: PreprocessConfig) -> torch.Tensor:
    """[3, S, S] float32, normalised: dark lines on white, cropped and squared.

    Raises:
        BlankSketchError: nothing is drawn.
    """
    return to_tensor(sketch_image(image, config), config)


def to_tensor(image: Image.Image, config: PreprocessConfig) -> torch.Tensor:
    """RGB image of S x S -> [3, S, S] float32: (value / 255 - mean) / std per channel."""
    import torch  # here, since processes that only decode do without

    # In NumPy on purpose: torch would start a team of OpenMP threads in every thread that decodes, and on a busy
    # machine their waiting for each other takes longer than decoding.
    values = channels_first(image).astype(np.float32)
    mean, std = (np.array(numbers, dtype=np.float32)[:, None, None] for numbers in (config.mean, config.std))
    values /= 255
    values -= mean
    values /= std
    return torch.from_numpy(values)


def channels_first(image: Image.Image) -> npt.NDArray[np.uint8]:
    """RGB image of S x S -> [3, S, S] uint8, which `normalised` makes the network's input of."""
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def normalised(pixels: torch.Tensor, config: PreprocessConfig) -> torch.Tensor:
    """[..., 3, S, S] uint8 on any device -> float32 there, as `to_tensor` has it."""
    import torch

    mean, std = (torch.tensor(numbers, device=pixels.device)[:, None, None] for numbers in (config.mean, config.std))
    return pixels.float().div_(255).sub_(mean).div_(std)


def photo_image(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The photo as the network sees it: RGB, S x S, fitted as `config.photo_fit` says."""
    size = config.image_size
    if config.photo_fit == "squash":
        return photo_rgb(image, lambda photo: photo.resize((size, size)))
    scaled = photo_rgb(image, lambda photo: _scaled(photo, size))
    return _squared(scaled, size, _border_mean(scaled))


def sketch_image(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The sketch as the network sees it: RGB, S x S, dark lines on white, cropped to the ink and squared.

    A clean drawing (dark on white, or its negative) is prepared exactly as upstream does: crop to the box of its dark
    pixels with a margin, scale the longer side to S, pad to a square with the brightest value. Anything else (pencil on
    paper, a scan, a photo with shadows, light colours) first goes through `model.images.cleanup.sketch_cleanup`.

    Raises:
        BlankSketchError: nothing is drawn.
    """
    try:
        return _prepared_sketch(to_rgb(image), config)
    except BlankSketchError:
        if not image.has_transparency_data:
            raise
        # White ink on a transparent canvas: the ink is where the canvas is not.
        return _prepared_sketch(ImageOps.invert(alpha_of(image)).convert("RGB"), config)


def _prepared_sketch(rgb: Image.Image, config: PreprocessConfig) -> Image.Image:
    rgb, framed = without_dark_margins(rgb)
    pixels = np.asarray(rgb)
    if is_negative(pixels, framed=framed):
        rgb = ImageOps.invert(rgb)
        pixels = np.asarray(rgb)
    margin = config.sketch_margin
    box = clean_drawing_box(pixels, margin)
    drawing = rgb
    if box is not None and _is_grey(pixels):
        drawing = rgb.getchannel(0)  # scaled in half of the time
    del pixels  # a second copy of what may be large
    if box is None:
        drawing, box = clean_sketch(rgb)
        margin = round(margin * max(box[2] - box[0], box[3] - box[1]) / _USUAL_EXTENT)
    left, top, right, bottom = box
    width, height = drawing.size
    cropped = drawing.crop(
        (max(left - margin, 0), max(top - margin, 0), min(right + margin, width), min(bottom + margin, height))
    )
    scaled = _scaled(cropped, config.image_size).convert("RGB")
    if config.sketch_line_width > 0:
        scaled = with_line_width(scaled, config.sketch_line_width).convert("RGB")
    brightest = int(np.asarray(scaled).max())
    return _squared(scaled, config.image_size, (brightest, brightest, brightest))


def _is_grey(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether all channels of [height, width, 3] are the same."""
    red = pixels[..., 0]
    return np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2])


def _scaled(image: Image.Image, size: int) -> Image.Image:
    """The longer side scaled to `size`, aspect ratio kept."""
    factor = size / max(image.size)
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def _squared(image: Image.Image, size: int, fill: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", (size, size), fill)
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas


def _border_mean(image: Image.Image) -> tuple[int, int, int]:
    pixels = np.asarray(image)
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (round(float(value)) for value in edges.mean(axis=0))
    return red, green, blue
