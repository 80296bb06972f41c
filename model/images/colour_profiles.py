"""ICC profiles: what a browser would show of colours that are not sRGB.

A profile that makes no sense, or does not fit the pixels, is ignored, as browsers do. A profile that changes no colour
visibly is dropped where the file is opened, so sRGB pictures cost nothing and keep every bit.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
from collections import OrderedDict
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4_000_000
"""A larger profile is ignored. Profiles of presses have up to 3 MB."""

KEY = "needed_profile"
"""Where an opened image's `info` holds the profile that its colours still need. Pillow's own key may hold anything."""

Transform: TypeAlias = ImageCms.ImageCmsTransform

_MODE_OF_SPACE = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SPACES_OF_MODE = {  # a grey picture with a profile for colours has three equal channels
    **dict.fromkeys(("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr"), (b"RGB ",)),
    **dict.fromkeys(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"), (b"GRAY", b"RGB ")),
    "CMYK": (b"CMYK",),
}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
_INVISIBLE = 2  # of 255: many files call themselves sRGB and differ by rounding
_MAX_TAGS = 100  # LittleCMS's own bound
_KEPT_VERDICTS, _KEPT_TRANSFORMS = 256, 8

_lock = threading.Lock()
_verdicts: OrderedDict[tuple[bytes, str], bool] = OrderedDict()
_of_thread = threading.local()  # LittleCMS's transforms must not be shared by threads


def needed_profile(profile: object, mode: str) -> bytes | None:
    """The profile, if pixels of this Pillow mode look different without it; None if it may be forgotten."""
    if not isinstance(profile, bytes) or not 128 < len(profile) <= MAX_PROFILE_BYTES:
        return None
    space = profile[16:20]
    if profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES or space not in _SPACES_OF_MODE.get(mode, ()):
        return None
    key = (hashlib.sha256(profile).digest(), _MODE_OF_SPACE[space])
    with _lock:
        known = _verdicts.get(key)
    if known is None:
        known = _changes_colours(profile, key)
        with _lock:
            _verdicts[key] = known
            while len(_verdicts) > _KEPT_VERDICTS:
                _verdicts.popitem(last=False)
    return profile if known else None


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture's colours in sRGB, as mode RGB.

    Args:
        image: mode L, RGB or CMYK.
        profile: as `needed_profile` gave it for the file's own mode.
    """
    mode = _MODE_OF_SPACE[profile[16:20]]
    transform = _transform(profile, (hashlib.sha256(profile).digest(), mode))
    if transform is None or (image.mode == "CMYK") != (mode == "CMYK"):
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image if image.mode == mode else image.convert(mode), transform)
    assert converted is not None  # noqa: S101  (None only for inPlace=True)
    converted.info.pop(KEY, None)
    return converted


def _changes_colours(profile: bytes, key: tuple[bytes, str]) -> bool:
    transform = _transform(profile, key)
    if transform is None:
        return False
    samples = _samples(key[1])
    converted = ImageCms.applyTransform(samples, transform)
    assert converted is not None  # noqa: S101
    before, after = (np.asarray(one, dtype=np.int16) for one in (samples.convert("RGB"), converted))
    return bool(np.abs(before - after).max() > _INVISIBLE)


@cache
def _samples(mode: str) -> Image.Image:
    """Colours from all over the space: all greys and a lattice of nine steps."""
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([grey, lattice])[None]).convert(mode)


def _transform(profile: bytes, key: tuple[bytes, str]) -> Transform | None:
    """From the profile's colours to sRGB, for this thread; None where LittleCMS makes no sense of the profile."""
    kept: OrderedDict[tuple[bytes, str], Transform | None] | None = getattr(_of_thread, "transforms", None)
    if kept is None:
        kept = _of_thread.transforms = OrderedDict()
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    try:
        source, srgb = io.BytesIO(_perceptual(profile)), ImageCms.createProfile("sRGB")
        made = ImageCms.buildTransform(source, srgb, key[1], "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (struct.error, ImageCms.PyCMSError, OSError, ValueError, TypeError):
        made = None
    kept[key] = made
    while len(kept) > _KEPT_TRANSFORMS:
        kept.popitem(last=False)
    return made


def _perceptual(profile: bytes) -> bytes:
    """The profile with the table for perceptual rendering alone, if it has one: browsers look at no other.

    LittleCMS would take the same table, but move black, for the intent of that name.
    """
    (count,) = struct.unpack_from(">I", profile, 128)
    end = 132 + 12 * min(count, _MAX_TAGS)
    names = [profile[at : at + 4] for at in range(132, end, 12)]
    if b"A2B0" not in names or b"A2B1" not in names:
        return profile
    at = 132 + 12 * names.index(b"A2B1")
    return profile[:at] + b"none" + profile[at + 4 :]
