"""The one hierarchy of errors: every error that a user may meet has a stable code and says what to do.

Errors of this family carry sentences written for users, so the command line prints them as they are and the service
may send them to a client. Any other exception is a defect and its text stays inside.
"""

from functools import partial
from typing import Any


class SketchseekError(Exception):
    """Base of all errors that are the user's to mend.

    Attributes:
        code: stable, machine-readable name in lower_snake_case; part of the public interface.
    """

    code: str = "error"


class BlankSketchError(SketchseekError):
    """The sketch holds no ink: nothing darker (or, inverted, lighter) than its background."""

    code = "blank_sketch"


class StrokesError(SketchseekError):
    """Strokes of a drawing are empty, malformed or not finite."""

    code = "bad_strokes"


class ImageError(SketchseekError):
    """An image cannot be read: damaged, truncated, empty or no image at all."""

    code = "unreadable_image"


class DamagedImageError(ImageError):
    """The file begins like an image of a known format, but is truncated or damaged."""

    code = "damaged_image"


class ImageFormatError(ImageError):
    """The file is an image, but of a format that is not on the allow-list."""

    code = "unsupported_image_format"


class ImageTooLargeError(ImageError):
    """The image needs more pixels, bytes or memory than allowed; nothing was decoded.

    Attributes:
        fact: what is too large, without advice; the error's own text advises to send a smaller one.
        code: "image_too_large" (pixels), "image_file_too_large" (bytes) or "image_memory" (what decoding takes).
        settable: whether a setting would let it in.
    """

    def __init__(self, fact: str, code: str = "image_too_large", *, settable: bool = True) -> None:
        super().__init__(f"{fact}; send a smaller one")
        self.fact = fact
        self.code = code
        self.settable = settable

    def __reduce__(self) -> tuple[Any, ...]:
        """It can cross processes."""
        return partial(type(self), settable=self.settable), (self.fact, self.code)


class DecodingTimeoutError(ImageError):
    """Other images took the memory for decoding for longer than this one could wait."""

    code = "decoding_timeout"


class CheckpointError(SketchseekError):
    """A checkpoint cannot be used: unreadable, damaged, of another preset, or with wrong entries."""

    code = "bad_checkpoint"


class CheckpointNotFoundError(CheckpointError):
    """No checkpoint has this name or path."""

    code = "checkpoint_not_found"


class WeightsUnavailableError(SketchseekError):
    """Pretrained weights could be had neither from a local file nor from the hub."""

    code = "weights_unavailable"


class DeviceError(SketchseekError):
    """The requested device or arithmetic is not available on this machine."""

    code = "device_unavailable"


class DeviceMemoryError(DeviceError):
    """The device's memory is too short even for the smallest step; others may use it at the moment."""

    code = "device_memory"


class DatasetError(SketchseekError):
    """A dataset on disk lacks a file or holds a damaged one; the message names it."""

    code = "bad_dataset"


class ConfigurationError(SketchseekError):
    """A setting or option has a value that cannot work."""

    code = "bad_configuration"


class MissingExtraError(SketchseekError):
    """An optional package is needed; the message names the extra to install."""

    code = "missing_extra"


class DivergedError(SketchseekError):
    """The loss is no number any more."""

    code = "training_diverged"


class StoppedError(SketchseekError):
    """The run was asked to stop before its last step; its state is saved and the same command continues."""

    code = "training_stopped"
