"""What stands around an image's pixels: read with bounds, and stripped of what decoding does not need.

Decoders parse metadata before anyone can stop them: text chunks that inflate, directories of a million entries,
thousands of frames or scans. So each format's container is walked first, with a bound on its blocks. Texts, profiles,
thumbnails and later frames never reach the decoder. Profiles are handed on beside the picture.

docs/decisions.md says why this is not left to a process with a limit on its memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from model.images.formats.bmp import walk_bmp
from model.images.formats.container import Container, damaged
from model.images.formats.gif import walk_gif
from model.images.formats.iso import coded_size, still_picture
from model.images.formats.iso_colours import coded_colours
from model.images.formats.jpeg import walk_jpeg
from model.images.formats.png import walk_png
from model.images.formats.tiff import walk_tiff
from model.images.formats.webp import walk_webp


def inspect(data: bytes) -> Container:
    """Walks the container that `data` begins with; unknown formats pass as they are.

    Raises:
        DamagedImageError: the container makes no sense, or has more parts than any honest file.
    """
    for matches, walk in _WALKS:
        if matches(data[:16]):
            try:
                return walk(data)
            except (struct.error, IndexError) as error:
                raise damaged("it ends early") from error
    return Container(data)


def _isobmff(data: bytes) -> Container:
    return Container(still_picture(data), size=coded_size(data), profile=coded_colours(data))


_ISO_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Container]], ...] = (
    (lambda head: head[:3] == b"\xff\xd8\xff", walk_jpeg),
    (lambda head: head[:8] == b"\x89PNG\r\n\x1a\n", walk_png),
    (lambda head: head[:6] in (b"GIF87a", b"GIF89a"), walk_gif),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", walk_webp),
    (lambda head: head[:2] == b"BM", walk_bmp),
    (lambda head: head[:2] in (b"II", b"MM") and (b"*" in head[2:4] or b"+" in head[2:4]), walk_tiff),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in _ISO_BRANDS, _isobmff),
)
