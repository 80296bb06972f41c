"""Sound inputs that the fuzzer starts from."""

from __future__ import annotations

import base64
import io
import json
import struct

import numpy as np
from PIL import Image

from model.images.opening import FORMATS
from tests.fuzz import targets
from tests.libraries.odd_looks import P3
from tests.libraries.raw_files import dng


def seeds(name: str) -> list[bytes]:
    """The seeds of one target."""
    return {"uploads": _uploads, "strokes": _strokes, "gallery": _gallery, "checkpoints": _checkpoints}[name]()


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    found = []
    if "RAW" in FORMATS:
        found += [dng((32, 24), preview) for preview in ((32, 24), None)]
    if "JXL" in FORMATS:
        import pylibjxl

        found.append(pylibjxl.encode(pixels, icc=P3))
    for kind in FORMATS:
        if kind in ("RAW", "JXL"):  # which Pillow does not write
            continue
        for mode in ("RGB", "L", "P"):
            buffer = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(buffer, kind)
            except (OSError, ValueError):
                continue
            found.append(buffer.getvalue())
    for options in ({"progressive": True}, {"icc_profile": P3}, {"exif": Image.Exif().tobytes(), "quality": 20}):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", **options)
        found.append(buffer.getvalue())
    for kind, several in (("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {"compression": "tiff_lzw"})):
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        image.save(buffer, kind, save_all=True, append_images=[image], **several)
        found.append(buffer.getvalue())
    return found


def _uploads() -> list[bytes]:
    pictures = _pictures()
    part = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x.png"\r\n\r\n%s\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n5\r\n'
    forms = [
        b"F" + part % (b"sketch", pictures[1]) + field + b"--b--\r\n",
        b"P" + part % (b"photo", pictures[0]) * 2 + b"--b--\r\n",
    ]
    uri = "data:image/png;base64," + base64.b64encode(pictures[1]).decode()
    return [*(b"I" + picture for picture in pictures), *forms, b"J" + json.dumps({"image": uri}).encode()]


def _strokes() -> list[bytes]:
    drawings = [
        {"strokes": [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]], [[20, 128, 235], [60, 10, 60]]], "top_k": 5},
        {"strokes": [[[0.5], [0.5], [3]]], "tag": ["a"]},
        {"strokes": [[[1e-300, 1e6], [-1e6, 2.5e-8]]]},
    ]
    doubles = [struct.pack("<8d", *range(8)), struct.pack("<4d", 1e6, -1e6, 1e-320, 0.0)]
    return [*(json.dumps(drawing).encode() for drawing in drawings), *(b"\0" + packed for packed in doubles)]


def _gallery() -> list[bytes]:
    names = targets.gallery_files()
    changes = [
        bytes([mode]) + struct.pack("<BBIBB", number, action, position, 255, 3)
        for mode in (0, 1)
        for number in range(len(names))
        for action, position in ((0, 40), (1, 200), (3, 90))
    ]
    values = {"checkpoint": "x", "checkpoint_sha256": "0", "preprocess": "p", "grid": 3, "root": "/", "format": 1}
    values |= {"shape": {"tokens": 10, "width": 8, "descriptor": 8}, "token_encoding": "int8-per-token-record"}
    return [*changes, b"\2" + json.dumps(values).encode()]


def _checkpoints() -> list[bytes]:
    sound = (targets._tiny()[0] / "tiny.safetensors").read_bytes()
    length = int.from_bytes(sound[:8], "little")
    header = sound[8 : 8 + length]
    small = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return [b"H" + header, b"\0" + struct.pack("<Q", len(small)) + small + b"\0" * 8, b"\0" + sound[:400]]
