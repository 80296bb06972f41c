"""What a caller wants of an image: all pixels, fewer of them, or the picture as it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from model.images.reduction import making_bytes, photo_within, reduced


@dataclass(frozen=True)
class Wanted:
    """What becomes of decoded pixels.

    Attributes:
        longest_side: what the caller will scale them to, in pixels; None keeps all of them.
        as_shown: make the picture that is shown, its longer side at most `longest_side`.
    """

    longest_side: int | None
    as_shown: bool = False

    def draft(self, image: Image.Image) -> None:
        """Have an opened JPEG decoded at a fraction of its size, where twice the longest side is left."""
        if self.longest_side is not None:
            image.draft(None, (2 * self.longest_side, 2 * self.longest_side))

    def made(self, image: Image.Image) -> Image.Image:
        """What is wanted of a decoded image."""
        if self.as_shown and self.longest_side is not None:
            return photo_within(image, self.longest_side)
        return reduced(image, self.longest_side)

    def making_bytes(self, image: Image.Image) -> float:
        """Memory that `made` takes beside the image's own."""
        return making_bytes(image, self.longest_side, shown=self.as_shown)
