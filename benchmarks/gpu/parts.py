"""What is run: each part's command, by size, and how long it may take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent

_HANGS_S = 60
"""A test that takes longer may hang: pytest prints where each thread is."""
Size = Literal["full", "rehearsal", "least"]
SIZES: tuple[Size, ...] = ("full", "rehearsal", "least")


@dataclass(frozen=True)
class Part:
    """One process.

    Attributes:
        name: in the table and of its files.
        seconds: that it may take when all parts have eight minutes.
        script: of the benchmarks.
        options: for the sizes `full`, `rehearsal` and `least`. DEVICE and MADE stand for the device and for the folder
            of what was made.
        writes: whether it takes `--json`.
    """

    name: str
    seconds: float
    script: str
    options: tuple[str, ...]
    writes: bool = True

    def command(self, device: str, size: Size, folder: Path, made: Path) -> list[str]:
        """How it is started.

        Args:
            device: to measure.
            size: of the run.
            folder: of what the parts write.
            made: of what the parts are measured with.
        """
        words = self.options[SIZES.index(size)].split()
        told = [word.replace("DEVICE", device).replace("MADE", str(made / "served")) for word in words]
        target = ["--json", str(folder / f"{self.name}.json")] if self.writes else []
        return [sys.executable, str(SCRIPTS / f"{self.script}.py"), *told, *target]


class Tests(Part):
    """tests/gpu, with pytest alone: its plugins and the project's settings of it may be missing."""

    def command(self, device: str, size: Size, folder: Path, made: Path) -> list[str]:
        """See `Part.command`. Only the tests of that kind of device; of the smallest size, one file of them."""
        del made
        settings = folder / "pytest.ini"
        told = ["[pytest]", "markers = gpu: needs a CUDA device on this machine", f"faulthandler_timeout = {_HANGS_S}"]
        settings.write_text("\n".join([*told, ""]), encoding="utf-8")
        which = ROOT / "tests" / "gpu" / ("test_device.py" if size == "least" else "")
        options = ["-c", str(settings), f"--rootdir={ROOT}", "-v", "--durations=5", "-p", "no:cacheprovider"]
        chosen = ["-m", "not gpu" if device == "cpu" else "gpu"]
        return [sys.executable, "-m", "pytest", str(which), *options, *chosen]


_SERVED = "--gallery MADE/gallery --sketches MADE/sketches --device DEVICE --pairs 0"

PARTS: Sequence[Part] = (
    Part("floors", 40, "floors", ("--device DEVICE",) * 3),
    Tests("tests", 230, "", ("",) * 3, writes=False),
    Part(
        "encode",
        60,
        "encode",
        (
            "--device DEVICE --batches 1 8 32 256 --rounds 7",
            "--device DEVICE --batches 1 2 --rounds 2",
            "--device DEVICE --preset zse-tiny --batches 1 --rounds 1",
        ),
    ),
    Part(
        "relate",
        40,
        "relate",
        (
            "--device DEVICE --presets zse-lite --photos 50 1000 --rounds 7",
            "--device DEVICE --presets zse-lite --photos 50 --rounds 2",
            "--device DEVICE --presets zse-tiny --photos 5 --rounds 1",
        ),
    ),
    Part(
        "relate8",
        40,
        "relate",
        (
            "--device DEVICE --presets zse-lite --photos 50 --sketches 8 --rounds 7",
            "--device DEVICE --presets zse-lite --photos 10 --sketches 8 --rounds 2",
            "--device DEVICE --presets zse-tiny --photos 2 --sketches 2 --rounds 1",
        ),
    ),
    Part(
        "made",
        30,
        "material",
        ("MADE --photos 12000", "MADE --photos 500", "MADE --photos 50"),
        writes=False,
    ),
    Part(
        "serve",
        80,
        "serve",
        (
            f"{_SERVED} --clients 1 8 32 128 --rounds 2 --seconds 3",
            f"{_SERVED} --clients 1 4 --rounds 1 --seconds 1",
            f"{_SERVED} --clients 1 2 --rounds 1 --seconds 0.2",
        ),
    ),
    Part(
        "serve4",
        80,
        "serve",
        (
            f"{_SERVED} --services 4 --clients 32 128 --rounds 2 --seconds 3",
            f"{_SERVED} --services 2 --clients 4 --rounds 1 --seconds 1",
            f"{_SERVED} --services 2 --clients 2 --rounds 1 --seconds 0.2",
        ),
    ),
    Part(
        "build",
        60,
        "build",
        (
            "--device DEVICE --count 6000 --pixels 256 256 --turns 2",
            "--device DEVICE --count 32 --pixels 256 256 --turns 1",
            "--device DEVICE --preset zse-tiny --count 8 --pixels 64 64 --turns 1",
        ),
    ),
    Part(
        "recall",
        110,
        "recall",
        (
            "--device DEVICE --sizes 1000000 --ivf --queries 20",
            "--device DEVICE --sizes 20000 --ivf --queries 10",
            "--device DEVICE --sizes 2000 --ivf --queries 2",
        ),
    ),
)
