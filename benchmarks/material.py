"""Makes what the service is measured with where there are no photos: a gallery of random tokens, and sketches.

    python benchmarks/material.py FOLDER --photos 10000

FOLDER gets `gallery` and `sketches`. Descriptors cluster as those of photos do, so recall takes as long as with photos,
and so does the rest. What is found means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from galleries import write_photos
from PIL import Image, ImageDraw
from shared_options import add_network

from index_builder.photo_folders import PhotoFolders
from index_builder.store.metadata import GalleryMetadata
from model.checkpoints.files import load_checkpoint


def draw_sketches(folder: Path, count: int = 16) -> None:
    """Ellipses, drawn with a thick pen."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = Image.new("RGB", (256, 256), "white")
        corner = 20 + 4 * number
        ImageDraw.Draw(image).ellipse((corner, 40, 220, 216 - 3 * number), outline="black", width=4)
        image.save(folder / f"{number}.png")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="must be new")
    options.add_argument("--photos", type=int, default=10_000)
    add_network(options)
    arguments = options.parse_args()
    network = load_checkpoint(arguments.checkpoint, "cpu")
    arguments.folder.mkdir(parents=True)
    draw_sketches(arguments.folder / "sketches")
    metadata = GalleryMetadata.of(network, PhotoFolders.of(arguments.folder / "photos"))
    took = write_photos(arguments.folder / "gallery", arguments.photos, metadata)
    print(f"{arguments.photos} photos written in {took:.1f} s (with checksums, forced to disk)")


if __name__ == "__main__":
    main()
