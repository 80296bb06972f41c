"""The icons of the sample gallery: Fluent Emoji in 3D, under readable names.

Fluent Emoji are 256 px renders of animals, food, tools, vehicles and more. Of OpenMoji, only the table of names and
groups is read. An icon's path is icons/GROUP/SUBGROUP/NAME.webp, so names can be read and groups become tags.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.setup.npm_packages import NpmPackage, PackageContentError, packed_file

PICTURES = NpmPackage(
    "@lobehub/fluent-emoji-3d@1.1.0",
    "5a5ab69554ad4e7afc043a48274a449d328ee0bb83c71a931214ef46d0f50cb4"
    "45d267bba207914232a87a10c75ee549d9069e720979c1106feb4954006de1ee",
)
NAMES = NpmPackage(
    "openmoji@17.0.0",
    "1019d8acd19d71dc3e3925e610d78d135c81351bbab4eada4e6a0ec946c99139"
    "af4fff97113a7c4592d2245cc3de5acf73937d0b3b323e7453934569e14688f7",
)
ICON_COUNT = 1140

# Flags, signs and symbols are left out, because they are not things. So are pictures that differ from another only in
# skin, hair, gender, a colour or the hands of a clock, which no line drawing shows.
GROUPS = {
    "activities", "animals-nature", "food-drink", "objects", "people-body", "smileys-emotion", "travel-places",
}  # fmt: skip
LEFT_OUT_SUBGROUPS = {"family", "hand-single-finger"}
LEFT_OUT_NAMES = re.compile(
    r"(man|woman|men|women) .+|deaf (man|woman)|(man|woman|person): .+|pregnant (man|woman)"
    r"|.+ o\u2019clock|.+-thirty|(black|blue|brown|green|grey|light blue|orange|pink|purple|white|yellow) heart"
)
LICENCE = f"""\
The icons are Fluent Emoji by Microsoft (MIT licence), packed by LobeHub as `{PICTURES.spec}` (MIT licence).
Their names and groups follow the table of `{NAMES.spec}` by HfG Schwäbisch Gmünd (CC BY-SA 4.0), which takes
them from the Unicode standard; none of OpenMoji's own pictures is used.
"""


def unpack_icons(pictures: Path, names: Path, into: Path) -> None:
    """Write the icons below `into`.

    Args:
        pictures: archive of `PICTURES`.
        names: archive of `NAMES`.

    Raises:
        PackageContentError: there are not as many as there should be.
    """
    with tarfile.open(names) as archive:
        table = json.load(packed_file(archive, "package/data/openmoji.json"))
    count = _unpack_named(pictures, chosen_names(table), into)
    if count != ICON_COUNT:
        raise PackageContentError(f"The sample gallery should hold {ICON_COUNT} icons, but {count} were found.")


def chosen_names(table: list[dict[str, Any]]) -> dict[str, str]:
    """Paths of the icons, without ending, by code point (lower case, joined by "-", no selector FE0F).

    Args:
        table: OpenMoji's data/openmoji.json: dicts with hexcode, annotation, group, subgroups, skintone.
    """
    paths: dict[str, str] = {}
    taken: set[str] = set()
    for entry in table:
        group, subgroup, name = entry["group"], entry["subgroups"], entry["annotation"]
        if entry["skintone"] or group not in GROUPS or subgroup in LEFT_OUT_SUBGROUPS or LEFT_OUT_NAMES.fullmatch(name):
            continue
        path = "/".join(("icons", *(_file_name(part) for part in (group, subgroup, name))))
        if path.lower() not in taken:  # some file systems ignore case
            taken.add(path.lower())
            paths[_code(entry["hexcode"])] = path
    return paths


def _file_name(text: str) -> str:
    """`text` with only letters, digits, blanks and a few harmless marks, as every file system takes them."""
    return re.sub(r"[^\w '.-]+", "", text.replace("\u2019", "'")).strip(" .") or "unnamed"


def _code(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def _unpack_named(archive_path: Path, paths: dict[str, str], into: Path) -> int:
    """Write the pictures that have a path, and count them.

    Names inside the archive are only looked up, never used as paths.
    """
    written = set()
    with tarfile.open(archive_path) as archive:
        for code, content in _pictures(archive):
            if code in paths:
                target = into / f"{paths[code]}.webp"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                written.add(target)
    return len(written)


def _pictures(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        match = re.fullmatch(r"package/assets/([0-9a-f-]+)\.webp", member.name)
        if match and member.isfile():
            stream = archive.extractfile(member)
            if stream is not None:
                yield _code(match[1]), stream.read()
