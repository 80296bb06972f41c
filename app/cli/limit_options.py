"""What a photo may cost: the options of every command that opens photos, with the service's variables and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from model.images import default_limits

if TYPE_CHECKING:
    from model.images.limits import ImageLimits

_PANEL = "Limits of a photo"

MaxPixelsOption = Annotated[
    int, typer.Option(min=1, help="Most pixels.", envvar="SKETCHSEEK_MAX_PIXELS", rich_help_panel=_PANEL)
]
MaxBytesOption = Annotated[
    int, typer.Option(min=1, help="Largest file.", envvar="SKETCHSEEK_MAX_IMAGE_BYTES", rich_help_panel=_PANEL)
]
MaxMemoryOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Memory that decoding one may take.",
        envvar="SKETCHSEEK_MAX_IMAGE_MEMORY_BYTES",
        rich_help_panel=_PANEL,
    ),
]
SharedMemoryOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Memory for all that are decoded at the same time.",
        envvar="SKETCHSEEK_DECODING_MEMORY_BYTES",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class LimitOptions:
    """The values of these options."""

    max_pixels: MaxPixelsOption = default_limits.PIXELS
    max_image_bytes: MaxBytesOption = default_limits.FILE_BYTES
    max_image_memory_bytes: MaxMemoryOption = default_limits.MEMORY_BYTES
    decoding_memory_bytes: SharedMemoryOption = default_limits.SHARED_BYTES

    def limits(self) -> ImageLimits:
        """What a photo may cost."""
        from model.images.decoding_memory import DecodingMemory
        from model.images.limits import ImageLimits

        return ImageLimits(
            max_pixels=self.max_pixels,
            max_bytes=self.max_image_bytes,
            max_memory=self.max_image_memory_bytes,
            together=DecodingMemory(self.decoding_memory_bytes),
        )
