"""The sample gallery: real pictures of everyday things, so that a fresh installation has something to search.

`npm pack` fetches two packages by name: Fluent Emoji in 3D (256 px renders of animals, food, tools, vehicles ...) and
OpenMoji, of which only the table of names and groups is read. A picture's path is GROUP/SUBGROUP/NAME.webp, so names
can be read and groups become tags. If npm is missing or cannot reach a registry, the photographs that come with
scikit-image take their place.

    sketchseek sample FOLDER        fills FOLDER/photos, once; FOLDER/LICENCES.md says whose pictures they are

Packages are checked before anything is unpacked, and the finished folder appears in one rename, so an interrupted run
leaves nothing half done. Photos that somebody added to the folder stay, and deleted ones stay deleted.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.setup.npm_packages import NpmError, NpmPackage, fetch_package
from model.errors import SketchseekError
from model.whole_file import write_whole

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """What a folder's sample gallery is made of: the files that came from `source`, relative to the photos' folder."""

    source: str = ""
    files: tuple[str, ...] = ()


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
FLUENT_COUNT = 1140

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

# File in scikit-image's data folder -> path in the sample gallery.
SCIKIT_IMAGE_PHOTOS = {
    "astronaut.png": "people/astronaut.png",
    "camera.png": "people/photographer.png",
    "chelsea.png": "animals/cat.png",
    "horse.png": "animals/horse.png",
    "clock_motion.png": "objects/clock.png",
    "coffee.png": "objects/coffee cup.png",
    "coins.png": "objects/coins.png",
    "page.png": "objects/page of a book.png",
    "motorcycle_left.png": "vehicles/motorcycle.png",
    "rocket.jpg": "vehicles/rocket.jpg",
    "moon.png": "sky/moon.png",
    "hubble_deep_field.jpg": "sky/galaxies.jpg",
    "brick.png": "surfaces/bricks.png",
    "grass.png": "surfaces/grass.png",
    "gravel.png": "surfaces/gravel.png",
}

LICENCES = """\
# Whose pictures these are

{text}
They were copied here for your own use and are not part of Sketchseek.
"""
FLUENT_LICENCE = f"""\
The pictures are Fluent Emoji by Microsoft (MIT licence), packed by LobeHub as `{PICTURES.spec}` (MIT licence).
Their names and groups follow the table of `{NAMES.spec}` by HfG Schwäbisch Gmünd (CC BY-SA 4.0), which takes
them from the Unicode standard; none of OpenMoji's own pictures is used.
"""
SCIKIT_LICENCE = """\
The photographs come with scikit-image (BSD licence); most are in the public domain, and the file
`skimage/data/README.txt` of the installed package names their origins.
"""


class SampleError(SketchseekError):
    """The sample gallery is not available; the message says why and what to do instead."""

    code = "sample_unavailable"


def ensure_sample(folder: Path, report: Report = lambda _line: None) -> Path:
    """The folder of the sample gallery's photos, fetched if it is not there yet.

    Args:
        folder: where `photos`, `LICENCES.md` and `sample.json` go; made where missing.
        report: called with one sentence for each thing a user should know.

    Raises:
        SampleError: neither npm nor scikit-image has pictures.
    """
    present = _present(folder)
    if present.source == PICTURES.spec or (present.source and shutil.which("npm") is None):
        return folder / "photos"
    try:
        return _install(folder, lambda into: _fluent_photos(into, report), PICTURES.spec, FLUENT_LICENCE)
    except (NpmError, SampleError) as error:
        if present.source:
            return folder / "photos"
        report(f"{error} Using the photographs bundled with scikit-image instead, so the sample will be small.")
    try:
        return _install(folder, _scikit_photos, "scikit-image", SCIKIT_LICENCE)
    except SampleError as error:
        raise SampleError(f"{error} Or give a folder of your own photos: make serve PHOTOS=~/Pictures") from None


def _present(folder: Path) -> Sample:
    """What an earlier run installed; an empty `Sample` if none finished."""
    try:
        record = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        return Sample(str(record["source"]), tuple(record["files"])) if (folder / "photos").is_dir() else Sample()
    except (OSError, ValueError, TypeError, KeyError):
        return Sample()


def _install(folder: Path, fill: Callable[[Path], None], source: str, licence: str) -> Path:
    """Have `fill` write photos to a folder beside the place they belong to, then rename it there."""
    photos = folder / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        fresh = Path(partial) / "photos"
        fresh.mkdir()
        fill(fresh)
        files = _files(fresh)
        if photos.exists():
            _keep_additions(photos, fresh, set(_present(folder).files) | set(files))
            (folder / "sample.json").unlink(missing_ok=True)
            photos.rename(Path(partial) / "replaced")
        fresh.rename(photos)
    write_whole(folder / "LICENCES.md", LICENCES.format(text=licence))
    write_whole(folder / "sample.json", json.dumps({"source": source, "files": files}))
    return photos


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _keep_additions(old: Path, fresh: Path, ours: set[str]) -> None:
    """Carry over the files of `old` that no run of this module wrote."""
    for name in _files(old):
        if name not in ours:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(old / name, fresh / name)


def _fluent_photos(into: Path, report: Report) -> None:
    if shutil.which("npm") is not None:
        report(f"Fetching the sample gallery: {PICTURES.spec}, and the names of its pictures from {NAMES.spec}")
    with tempfile.TemporaryDirectory(prefix="sketchseek-sample-") as scratch:
        pictures = fetch_package(PICTURES, Path(scratch))
        names = fetch_package(NAMES, Path(scratch))
        with tarfile.open(names) as archive:
            table = json.load(_member(archive, "package/data/openmoji.json"))
        _unpack_named(pictures, chosen_names(table), into)
    count = len(_files(into))
    if count != FLUENT_COUNT:
        raise SampleError(f"The sample gallery should hold {FLUENT_COUNT} pictures, but {count} were found.")


def chosen_names(table: list[dict[str, Any]]) -> dict[str, str]:
    """Paths of the sample's pictures, without ending, by code point (lower case, joined by "-", no selector FE0F).

    Args:
        table: OpenMoji's data/openmoji.json: dicts with hexcode, annotation, group, subgroups, skintone.
    """
    paths: dict[str, str] = {}
    taken: set[str] = set()
    for entry in table:
        group, subgroup, name = entry["group"], entry["subgroups"], entry["annotation"]
        if entry["skintone"] or group not in GROUPS or subgroup in LEFT_OUT_SUBGROUPS or LEFT_OUT_NAMES.fullmatch(name):
            continue
        path = "/".join(_file_name(part) for part in (group, subgroup, name))
        if path.lower() not in taken:  # some file systems ignore case
            taken.add(path.lower())
            paths[_code(entry["hexcode"])] = path
    return paths


def _file_name(text: str) -> str:
    """`text` with only letters, digits, blanks and a few harmless marks, as every file system takes them."""
    return re.sub(r"[^\w '.-]+", "", text.replace("\u2019", "'")).strip(" .") or "unnamed"


def _code(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def _unpack_named(archive_path: Path, paths: dict[str, str], into: Path) -> None:
    """Write the pictures that have a path; names inside the archive are only looked up, never used as paths."""
    with tarfile.open(archive_path) as archive:
        for code, content in _pictures(archive):
            if code in paths:
                target = into / f"{paths[code]}.webp"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


def _pictures(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        match = re.fullmatch(r"package/assets/([0-9a-f-]+)\.webp", member.name)
        if match and member.isfile():
            stream = archive.extractfile(member)
            if stream is not None:
                yield _code(match[1]), stream.read()


def _member(archive: tarfile.TarFile, name: str) -> Any:
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise SampleError(f"The package holds no {name}.")
    return stream


def _scikit_photos(into: Path) -> None:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SampleError(
            "scikit-image is not installed either. Install npm and run this again, "
            'or install scikit-image: pip install -c constraints.txt ".[sample]"'
        )
    data = Path(spec.submodule_search_locations[0]) / "data"
    for name, path in SCIKIT_IMAGE_PHOTOS.items():
        if not (data / name).is_file():
            raise SampleError(f"The installed scikit-image carries no {name}.")
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / name, into / path)
