"""A sketch or a photo as it was sent, up to the pixels that the network sees.

It needs no torch, so a process that only does this starts fast and stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from PIL import Image

from model.config import PreprocessConfig
from model.images.limits import ImageLimits
from model.images.little_ink import has_little_ink
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, photo_image, sketch_image
from model.images.strokes import draw_strokes


class DrawnSketch(NamedTuple):
    """A sketch as the network sees it.

    Attributes:
        pixels: RGB, S x S, as `sketch_image` gives it.
        little_ink: whether it is a dot or a straight line, which tells hardly anything.
    """

    pixels: Image.Image
    little_ink: bool


@dataclass(frozen=True)
class SentPicture:
    """What came, undecoded.

    Attributes:
        kind: how the network looks at it.
        file: the encoded picture, or None if a sketch came as strokes.
        strokes: per stroke [[x...], [y...]].
    """

    kind: Literal["sketch", "photo"]
    file: bytes | None = None
    strokes: Sequence[list[list[float]]] = ()

    def pixels(self, config: PreprocessConfig, limits: ImageLimits) -> Image.Image:
        """RGB, S x S, as `sketch_image` and `photo_image` give it. Slow, so not for an event loop.

        Raises:
            BlankSketchError: nothing is drawn.
            StrokesError: the strokes cannot be drawn.
            ImageError and its kinds: see `model.images.opening.open_image`.
        """
        if self.file is None:
            return sketch_image(draw_strokes(list(self.strokes)), config)
        if self.kind == "photo":
            return photo_image(open_image(self.file, limits, config.image_size), config)
        return sketch_image(open_image(self.file, limits, SKETCH_LONGEST_SIDE, whole=True), config)

    def drawn(self, config: PreprocessConfig, limits: ImageLimits) -> DrawnSketch:
        """A sketch, and whether it says anything; raises as `pixels`."""
        pixels = self.pixels(config, limits)
        return DrawnSketch(pixels, has_little_ink(pixels))
