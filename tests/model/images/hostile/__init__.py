"""Images made to harm, each built by a few lines of code.

`CASES` maps a name to a builder and to what may come of it: an error class of `model.errors`, or None for an image that
opens. `python -m tests.model.images.hostile.measure` opens them one by one, each in a process of its own, and prints
what they cost.
"""

from __future__ import annotations

from tests.model.images.hostile.case import Case
from tests.model.images.hostile.iso_files import ISO
from tests.model.images.hostile.jpeg_files import JPEG
from tests.model.images.hostile.other_files import OTHERS
from tests.model.images.hostile.png_files import PNG
from tests.model.images.hostile.small_formats import SMALL_FORMATS
from tests.model.images.hostile.tiff_files import TIFF

CASES: dict[str, Case] = {**PNG, **JPEG, **SMALL_FORMATS, **TIFF, **ISO, **OTHERS}
