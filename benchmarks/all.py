"""Every table, one after the other: printed, as JSON with the machine and every option, and as a plot.

    make bench                                        # everything that needs no data of yours
    make bench SIZE=quick                             # in minutes: small galleries, few rounds
    make bench BENCH="encode relate"                  # some tables
    make bench DATA=DIR CATEGORIES=FILE               # also what needs real sketches and photos: quality
    make bench DATA=DIR ARGS="--gallery GALLERY"      # also hash codes; GALLERY holds the photos of DIR

DIR holds sketch/CATEGORY/* and photo/CATEGORY/*. FILE names the categories to measure on, one per line. Results go to
`benchmarks/results/raw/` unless OUT says otherwise. A table that fails is reported at the end; the others are still
made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure  # noqa: F401  (sets OMP_WAIT_POLICY for the scripts that are started here)
from plots import draw

from model.errors import MissingExtraError

HERE = Path(__file__).parent
# Table -> its script and what it is told in the quick and in the full size.
TABLES: dict[str, tuple[str, str, str]] = {
    "sizes": ("sizes", "", ""),
    "encode": ("encode", "--rounds 5 --batches 1 8", "--batches 1 8 32 --also-threads 1"),
    "encode-vit-b16": (
        "encode",
        "--preset zse-vit-b16 --rounds 2 --batches 1",
        "--preset zse-vit-b16 --rounds 3 --batches 1 8",
    ),
    "build": ("build", "--count 96 --turns 2", "--count 960 --turns 2"),
    "following": ("following", "--folders 100 --seconds 3", ""),
    "recall": ("recall", "--sizes 100000 --queries 30", "--queries 60 --open 100000"),
    "milvus": ("milvus_recall", "--sizes 20000 --queries 20", ""),
    "hash": ("hash", "--sizes 100000 --queries 30", ""),
    "filters": ("filters", "--photos 100000 --rounds 5", ""),
    "relate": ("relate", "--photos 50 --rounds 3", "--photos 50 --rounds 7"),
    "relate-trained": (
        "relate",
        "--presets zse-lite --checkpoint zse-lite",
        "--presets zse-lite --checkpoint zse-lite --rounds 15",
    ),
    "scale": ("scale", "--sizes 1000 10000 1000000 --stored 2000 --queries 20", ""),
    "upstream": ("upstream", "--measured 40", "--measured 1000"),
    "upstream-vit-b16": (
        "upstream",
        "--preset zse-vit-b16 --measured 20 --rounds 1",
        "--preset zse-vit-b16 --measured 40",
    ),
    "serve": ("serve", "--pairs 30 --rounds 2", ""),
    "object-storage": ("object_storage", "--photos 1000 --built 32 --builds 1 --rounds 3", ""),
    "capacity": ("capacity", "--size quick", ""),
}
# These need --data and --categories, the last --data and --gallery.
QUALITY: dict[str, tuple[str, str, str]] = {
    "encode-quality": ("encode", "--sketches 300", ""),
    "upstream-quality": ("upstream", "--sketches 60", ""),
    "tokens": ("tokens", "--sketches 60 --candidates 50", ""),
    "candidates": ("candidates", "--sketches 100", ""),
    "hash-quality": ("hash", "--per-category 1 --bits 256 --shortlists 1000", ""),
}


def serve_material(folder: Path, sketches: Path | None, gallery: Path | None) -> list[str]:
    """The gallery and sketches that the service is measured with; made up where none are given."""
    from build import make_photos
    from material import draw_sketches

    from index_builder import build_gallery
    from model.checkpoints.files import load_checkpoint

    if gallery is None:
        make_photos(folder / "photos", 256)
        gallery = folder / "gallery"
        build_gallery(folder / "photos", gallery, load_checkpoint("zse-lite", "cpu"))
    if sketches is None:
        sketches = folder / "sketches"
        draw_sketches(sketches)
    return ["--gallery", str(gallery), "--sketches", str(sketches)]


def run(name: str, command: list[str], out: Path) -> bool:
    """One table; whether it was made."""
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    target = [] if name == "sizes" else ["--json", str(out / f"{name}.json")]
    done = subprocess.run([sys.executable, str(HERE / f"{command[0]}.py"), *command[1:], *target], check=False)
    print(f"   ({time.monotonic() - started:.0f} s)", flush=True)
    return done.returncode == 0


def missing(name: str, arguments: argparse.Namespace) -> str:
    """What a table still needs to be told; "" where it can be made."""
    if name == "hash-quality":
        return "" if arguments.data and arguments.gallery else "--data, and --gallery of all its photos"
    return "--data and --categories" if name in QUALITY and not (arguments.data and arguments.categories) else ""


def material(name: str, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """The options that hand a table what it is measured on."""
    sketches = arguments.data / "sketch" if arguments.data else None
    if name == "serve":
        return serve_material(folder, sketches, arguments.gallery)
    if name == "hash-quality":
        return ["--gallery", str(arguments.gallery), "--sketches", str(sketches)]
    return ["--data", str(arguments.data), "--categories", str(arguments.categories)] if name in QUALITY else []


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tables", nargs="*", help="some of the tables; none means all that can be measured")
    options.add_argument("--size", choices=("quick", "full"), default="full")
    options.add_argument("--out", type=Path, default=HERE / "results" / "raw")
    options.add_argument("--data", type=Path, help="folder with sketch/CATEGORY/* and photo/CATEGORY/*")
    options.add_argument("--categories", type=Path, help="file of the categories that quality is measured on")
    options.add_argument("--gallery", type=Path, help="of DIR's photos, for the service and hash codes")
    arguments = options.parse_args()
    known = {**TABLES, **QUALITY}
    for name in arguments.tables:
        if name not in known:
            options.error(f"no table is named {name}; there are {', '.join(known)}")
        if needed := missing(name, arguments):
            options.error(f"{name} needs {needed}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.tables or [name for name in known if not missing(name, arguments)]:
            script, quick, full = known[name]
            sized = (quick if arguments.size == "quick" else full).split()
            if not run(name, [script, *sized, *material(name, arguments, Path(folder))], arguments.out):
                failed.append(name)
    try:
        print("\n" + "\n".join(map(str, draw(arguments.out))))
    except MissingExtraError as error:
        print(f"\nno plots: {error}")
    if failed:
        raise SystemExit(f"not made: {', '.join(failed)}")


if __name__ == "__main__":
    main()
