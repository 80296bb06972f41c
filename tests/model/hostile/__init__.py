"""Images made to harm, each built by a few lines of code.

`CASES` maps a name to a builder and to what may come of it: an error class of `model.errors`, or None for an image that
opens. `python -m tests.model.hostile.measure` opens them one by one, each in a process of its own, and prints what they
cost.
"""

from __future__ import annotations

from tests.model.hostile.case import Case
from tests.model.hostile.iso_files import ISO
from tests.model.hostile.jpeg_files import JPEG
from tests.model.hostile.other_files import OTHERS
from tests.model.hostile.png_files import PNG
from tests.model.hostile.small_formats import SMALL_FORMATS
from tests.model.hostile.tiff_files import TIFF

CASES: dict[str, Case] = {**PNG, **JPEG, **SMALL_FORMATS, **TIFF, **ISO, **OTHERS}
