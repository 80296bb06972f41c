"""What opening one image costs: the process' peak memory beyond what it held, next to the estimate that is refused by.

    python benchmarks/image_memory.py [--only NAME ...] [--side 224] [--screen]

Makes the files itself, one after the other, and opens each in a process of its own, as a build does: from the file's
bytes to the network's input; with --screen, to the picture that is shown, of that side. `MB` is the file's size; it is
held while the image is decoded.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_MEGA = 1e6
_SIDES = {12: (4000, 3000), 17: (4760, 3570), 24: (6000, 4000), 45: (8192, 5464), 50: (8160, 6120), 60: (9504, 6336)}
_SIDES |= {108: (12000, 9000), 200: (16320, 12240)}
_FILES: dict[str, tuple[str, int, str, dict[str, Any]]] = {
    "jpeg-60": ("JPEG", 60, "RGB", {}),
    "jpeg-200": ("JPEG", 200, "RGB", {}),
    "jpeg-progressive-45": ("JPEG", 45, "RGB", {"progressive": True}),
    "jpeg-progressive-444-45": ("JPEG", 45, "RGB", {"progressive": True, "subsampling": 0}),
    "jpeg-progressive-108": ("JPEG", 108, "RGB", {"progressive": True}),
    "jpeg-progressive-200": ("JPEG", 200, "RGB", {"progressive": True}),
    "jpeg-cmyk-24": ("JPEG", 24, "CMYK", {}),
    "jpeg-grey-progressive-45": ("JPEG", 45, "L", {"progressive": True}),
    "png-24": ("PNG", 24, "RGB", {"compress_level": 1}),
    "png-rgba-24": ("PNG", 24, "RGBA", {"compress_level": 1}),
    "png-palette-60": ("PNG", 60, "P", {"compress_level": 1}),
    "png-rgba-60": ("PNG", 60, "RGBA", {"compress_level": 1}),
    "png-16-60": ("PNG", 60, "I;16", {"compress_level": 1}),
    "png-60": ("PNG", 60, "RGB", {"compress_level": 1}),
    "webp-12": ("WEBP", 12, "RGB", {"method": 0}),
    "webp-17": ("WEBP", 17, "RGB", {"method": 0}),
    "webp-rgba-17": ("WEBP", 17, "RGBA", {"method": 0}),
    "webp-lossless-17": ("WEBP", 17, "RGB", {"lossless": True, "method": 0, "quality": 0}),
    "webp-50": ("WEBP", 50, "RGB", {"method": 0}),
    "avif-12": ("AVIF", 12, "RGB", {"speed": 10}),
    "avif-444-12": ("AVIF", 12, "RGB", {"speed": 10, "subsampling": "4:4:4"}),
    "avif-rgba-12": ("AVIF", 12, "RGBA", {"speed": 10}),
    "avif-50": ("AVIF", 50, "RGB", {"speed": 10}),
    "heic-12": ("HEIF", 12, "RGB", {"quality": 40}),
    "heic-444-12": ("HEIF", 12, "RGB", {"quality": 40, "chroma": 444}),
    "heic-rgba-12": ("HEIF", 12, "RGBA", {"quality": 40}),
    "heic-24": ("HEIF", 24, "RGB", {"quality": 40}),
    "heic-50": ("HEIF", 50, "RGB", {"quality": 40}),
    "tiff-24": ("TIFF", 24, "RGB", {}),
    "tiff-lzw-24": ("TIFF", 24, "RGB", {"compression": "tiff_lzw"}),
    "tiff-float-60": ("TIFF", 60, "F", {}),
    "tiff-60": ("TIFF", 60, "RGB", {}),
    "gif-24": ("GIF", 24, "P", {}),
    "bmp-24": ("BMP", 24, "RGB", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_FILES, default=list(_FILES))
    parser.add_argument("--side", type=int, default=224, help="Longer side that is asked for.")
    parser.add_argument("--screen", action="store_true", help="Make the picture that is shown instead.")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        print(json.dumps(_opened(arguments.open, arguments.side, screen=arguments.screen)))
        return
    print(f"{'file':24} {'pixels':>10} {'MB':>6} {'peak MB':>8} {'estimate':>8} {'per pixel':>9} {'s':>6}")
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            subprocess.run([sys.executable, __file__, "--make", name, str(path)], check=True)
            command = [sys.executable, __file__, "--open", str(path), "--side", str(arguments.side)]
            command += ["--screen"] if arguments.screen else []
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            seen = json.loads(answer.stdout)
            print(
                f"{name:24} {seen['pixels']:10d} {path.stat().st_size / _MEGA:6.1f} {seen['peak'] / _MEGA:8.1f} "
                f"{seen['estimate'] / _MEGA:8.1f} {seen['peak'] / seen['pixels']:9.2f} {seen['seconds']:6.2f}",
                flush=True,
            )


def _made(name: str, path: Path) -> None:
    kind, megapixels, mode, options = _FILES[name]
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    image = (
        Image.fromarray(noise)
        .resize(_SIDES[megapixels], Image.Resampling.BILINEAR)
        .convert("I" if mode == "I;16" else mode)
    )
    if mode == "I;16":
        image = image.point(lambda value: value * 257).convert(mode)
    image.save(path, kind, **options)


def _opened(path: Path, side: int, *, screen: bool) -> dict[str, float]:
    from model.config import PreprocessConfig
    from model.images import opening
    from model.images.preprocess import photo_tensor

    before, began = _peak(), time.monotonic()
    seen: list[float] = []
    opening.ImageLimits.check_memory = lambda _, needed: seen.append(needed)  # type: ignore[method-assign, assignment]
    limits = opening.ImageLimits(10**12, 10**12, 10**12)
    if screen:
        opening.open_shown(path, limits, side)
    else:
        photo_tensor(opening.read_image(path, limits, side).image, PreprocessConfig())
    took, peak = time.monotonic() - began, _peak() - before
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as original:
        pixels = original.width * original.height
    return {"pixels": pixels, "peak": peak, "estimate": max(seen), "seconds": took}


def _peak() -> float:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        _made(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
