"""Pairs of a line drawing and of coloured pictures of the same thing, from two sets of emoji.

    npm pack openmoji@17.0.0 && npm pack @lobehub/fluent-emoji-3d@1.1.0     # and unpack each with tar xzf
    pip install resvg-py==0.5.0
    python train/emoji_pairs.py OPENMOJI/package FLUENT/package TARGET --without test.txt

Writes TARGET/sketch/NAME/*.png (OpenMoji's black lines, CC BY-SA 4.0) and TARGET/photo/NAME/*.png (OpenMoji's colours
and Fluent's 3D renders, MIT): several hundred more things, with one drawing each. Whatever has one of the categories to
be left out, or a near name of theirs, among the words of its name or of its tags stays out.
"""

import argparse
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

import resvg_py
from PIL import Image

from model.data.splits import read_category_list, reserved_categories

GROUPS = {"animals-nature", "food-drink", "travel-places", "activities", "objects"}
SHAPELESS = {"time", "mail", "sound", "music", "place-map", "hotel", "place-geographic", "sky-weather"}
SIDE = 256
# other words for what published benchmarks test on
NEAR = """
    aircraft plane jet rocket rat ox buffalo chick rooster hen poultry gun pistol dagger coffee tea phone mobile boot
    sandal sneaker footwear luggage baggage briefcase building loudspeaker speaker croissant baguette bagel sandwich
    burger desktop keyboard hut home cottage camping wheel leopard unicorn bee moth gull duck goose bird foal cupcake
    shirt
"""


def words(text: str) -> set[str]:
    """Words in lower case, each also without a plural's s."""
    found = set(re.findall(r"[a-z]+", text.casefold()))
    return found | {word.removesuffix("s") for word in found}


def is_left_out(text: str, names: Iterable[str]) -> bool:
    """Whether all the words of one of the names occur in a text."""
    known = words(text)
    return any(set(re.findall(r"[a-z]+", name.casefold())) <= known for name in names)


def on_white(picture: Image.Image) -> Image.Image:
    """The picture on a white square."""
    picture = picture.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def rendered(file: Path) -> Image.Image:
    """An SVG file as pixels."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=SIDE, height=SIDE))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("openmoji", type=Path)
    parser.add_argument("fluent", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--without", type=Path, action="append", default=[], help="file of categories to leave out")
    options = parser.parse_args()

    left_out = [
        *reserved_categories(),
        *NEAR.split(),
        *(n for file in options.without for n in read_category_list(file)),
    ]
    written = 0
    for entry in json.loads((options.openmoji / "data" / "openmoji.json").read_text(encoding="utf-8")):
        code = entry["hexcode"]
        line = options.openmoji / "black" / "svg" / f"{code}.svg"
        render = options.fluent / "assets" / f"{code.lower()}.webp"
        if entry["group"] not in GROUPS or entry["subgroups"] in SHAPELESS or not (line.is_file() and render.is_file()):
            continue
        if is_left_out(f"{entry['annotation']} {entry['tags']} {entry['openmoji_tags']}", left_out):
            continue
        name = " ".join(re.findall(r"[a-z0-9]+", entry["annotation"].casefold())).removesuffix(" face")
        for folder, prefix, picture in (
            ("sketch", "oml", rendered(line)),
            ("photo", "omc", rendered(options.openmoji / "color" / "svg" / f"{code}.svg")),
            ("photo", "fl3", Image.open(render)),
        ):
            path = options.target / folder / name / f"{prefix}_{code}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            on_white(picture).save(path)
        written += 1
    print(f"{written} things in {options.target}")


if __name__ == "__main__":
    main()
