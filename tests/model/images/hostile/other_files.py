"""Files that are no image, or of a format nobody asked for, whatever their names say."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from model.errors import DamagedImageError, ImageError, ImageFormatError
from tests.model.images.hostile.case import Case, either, fails, opens, picture, saved

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
BILLION_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><svg>&j;</svg>"
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n%%EndComments\n(/etc/passwd) (r) file\n"


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("photo.png", bytes(10_000_000))
    return stream.getvalue()


OTHERS: dict[str, Case] = {
    "nothing": fails(lambda: b"", ImageError),
    "one byte": fails(lambda: b"\0", ImageError),
    "10 MB of zeros": fails(lambda: bytes(10_000_000), ImageError),
    "10 MB of noise": fails(lambda: np.random.default_rng(0).bytes(10_000_000), ImageError),
    "text": fails(lambda: b"Not a photo. " * 1000, ImageError),
    "a web page": fails(lambda: b"<!DOCTYPE html><html><img src=x onerror=alert(1)></html>", ImageError),
    "svg": fails(lambda: SVG, ImageFormatError),
    "svg of a billion laughs": fails(lambda: BILLION_LAUGHS, ImageFormatError),
    "eps": fails(lambda: EPS, ImageFormatError),
    "pdf": fails(lambda: b"%PDF-1.7\n1 0 obj\n<< /JS (app.alert(1)) >>\nendobj\n", ImageFormatError),
    "psd": fails(lambda: b"8BPS\0\1" + bytes(6) + b"\0\3" + b"\0\1\0\0" * 2 + b"\0\x08\0\3", ImageFormatError),
    "icon": fails(lambda: saved(picture(), "ICO"), ImageFormatError),
    "icon within an icon": fails(lambda: b"\0\0\1\0\xff\xff" + bytes(1_000_000), ImageFormatError),
    "jpeg 2000": fails(lambda: saved(picture(), "JPEG2000"), ImageFormatError),
    "qoi": fails(lambda: saved(picture(), "QOI"), ImageFormatError),
    "dds": fails(lambda: saved(picture(), "DDS"), ImageFormatError),
    "tga": fails(lambda: saved(picture(), "TGA"), ImageError),
    "ppm of 10 gigapixels": fails(lambda: b"P6 100000 100000 255\n" + bytes(1000), ImageError),
    "xbm": fails(lambda: b"#define im_width 60000\n#define im_height 60000\nstatic char im_bits[] = {", ImageError),
    "zip": fails(archive, ImageFormatError),
    "zip with a png behind it": fails(lambda: archive() + saved(picture(), "PNG"), ImageFormatError),
    "png with its name after nine bytes": fails(lambda: bytes(9) + saved(picture(), "PNG"), ImageError),
    "pickle": fails(lambda: b"\x80\4cos\nsystem\n(S'true'\ntR.", ImageError),
    "elf": fails(lambda: b"\x7fELF\2\1\1" + bytes(1000), ImageError),
    "gif that is a script": either(lambda: b"GIF89a/*" + bytes(5) + b"*/=alert(1)//;", DamagedImageError),
    "jpeg that is a page": opens(lambda: saved(picture(), "JPEG", comment=b"*/--><script>alert(1)</script>")),
}
