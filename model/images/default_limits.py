"""What images may cost unless somebody says otherwise; numbers alone, so that importing them costs nothing."""

from __future__ import annotations

PIXELS = 500_000_000
"""Of one photo. Phones of today make 200 million; a baseline JPEG of them is decoded at an eighth of its size."""

FILE_BYTES = 500_000_000
"""Of one photo: an uncompressed picture of 60 megapixels in 16 bits has 360 MB."""

MEMORY_BYTES = 900_000_000
"""To decode one photo, its file included."""

SHARED_BYTES = 1_200_000_000
"""To decode all photos that a process decodes at the same time: a quarter for their files, the rest for the pixels."""

SKETCH_PIXELS = 50_000_000
"""Of one sketch that a stranger sends."""

SKETCH_MEMORY_BYTES = 260_000_000
"""To decode one sketch that a stranger sends."""
