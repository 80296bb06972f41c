"""Opens hostile images, each in a process of its own, and prints one line of JSON for each.

    python -m tests.model.images.hostile.measure [NAME ...]

Every image goes both ways that the product knows, as a photo and as a sketch, within about the limits of sketches. Some
also become a picture for a screen.
A line holds the name, what became of it (the error's class, "opened", or "leaked ..." for anything that is neither),
seconds of processor time, seconds by the clock, and megabytes of memory beyond what the process held before.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import torch

from model.config import PreprocessConfig
from model.errors import BlankSketchError, SketchseekError
from model.images import default_limits
from model.images.decoding_memory import UNSHARED
from model.images.limits import SKETCH_FORMATS, ImageLimits
from model.images.opening import open_image, open_shown
from model.images.preprocess import SKETCH_LONGEST_SIDE, photo_tensor, sketch_tensor
from tests.model.images.hostile import CASES

CONFIG = PreprocessConfig()
LIMITS = ImageLimits(
    max_pixels=64_000_000,  # so that memory and time decide, not the number of pixels
    max_memory=default_limits.SKETCH_MEMORY_BYTES,
    formats=SKETCH_FORMATS,
    together=UNSHARED,
)


def as_photo(data: bytes) -> None:
    photo_tensor(open_image(data, LIMITS, CONFIG.image_size), CONFIG)


def as_sketch(data: bytes) -> None:
    image = open_image(data, LIMITS, SKETCH_LONGEST_SIDE)
    with contextlib.suppress(BlankSketchError):
        sketch_tensor(image, CONFIG)


def as_screen(data: bytes) -> None:
    open_shown(data, LIMITS, 2048)


WAYS = {"photo": as_photo, "sketch": as_sketch, "screen": as_screen}
# Others gain nothing by it.
ON_A_SCREEN = ("png bomb of 9 megapixels with alpha", "png bomb of 49 megapixels with alpha")


def ways_of(name: str) -> tuple[str, ...]:
    return ("photo", "sketch", "screen") if name in ON_A_SCREEN else ("photo", "sketch")


def megabytes(field: str) -> float:
    """VmRSS (now in memory), VmHWM (at most so far) or VmSize (address space)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


def measured(name: str, data: bytes, way: str) -> dict[str, object]:
    before, clock, processor = megabytes("VmRSS"), time.perf_counter(), time.process_time()
    try:
        WAYS[way](data)
        outcome = "opened"
    except SketchseekError as error:
        outcome = type(error).__name__
    except BaseException as error:
        outcome = f"leaked {error!r}"
    return {
        "name": name,
        "way": way,
        "outcome": outcome,
        "processor_s": round(time.process_time() - processor, 3),
        "clock_s": round(time.perf_counter() - clock, 3),
        "extra_mb": round(megabytes("VmHWM") - before, 1),
    }


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    space = int(megabytes("VmSize") * 1e6) + 2_000_000_000
    for name in names or CASES:
        data = CASES[name].build()
        for way in ways_of(name):
            child = os.fork()
            if child == 0:
                warnings.simplefilter("error")
                resource.setrlimit(resource.RLIMIT_AS, (space, space))
                resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
                report(measured(name, data, way))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                report({"name": name, "way": way, "outcome": f"leaked: died with status {status}"})


def report(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
