"""The sample gallery: fetched whole or not at all, verified, and honest about where it comes from."""

import hashlib
import importlib.util
import io
import json
import tarfile

import pytest

from app.setup import npm_packages as npm
from app.setup import sample, sample_icons
from app.setup.npm_packages import NpmPackage
from app.setup.sample import SampleError, ensure_sample
from app.setup.sample_icons import chosen_names
from app.setup.sample_photos import PHOTO_COUNT, PackedPhoto, packed_photos


def entry(hexcode, annotation, group="objects", subgroups="tool", skintone=""):
    return {
        "hexcode": hexcode, "annotation": annotation, "group": group, "subgroups": subgroups, "skintone": skintone,
    }  # fmt: skip


TABLE = [
    entry("1F528", "hammer"),
    entry("2708-FE0F", "airplane", "travel-places", "transport-air"),
    entry("1F45E", "man\u2019s shoe", "objects", "clothing"),
    entry("1F1E9-1F1EA", "flag: Germany", "flags", "country-flag"),
    entry("1F550", "one o\u2019clock", "travel-places", "time"),
    entry("1F44B-1F3FB", "waving hand: light skin tone", "people-body", "hands", 1),
]
PICTURES = {"1f528": b"hammer", "2708-fe0f": b"airplane", "1f45e": b"shoe", "1f1e9-1f1ea": b"flag", "1f550": b"clock"}


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


MEMBER = "package/images/ada-lovelace-7.jpg"


class Registry:
    """A stand-in for npm on PATH that packs three small packages and writes down what it was asked for."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "asked"
        self.serve("pictures", {f"package/assets/{code}.webp": data for code, data in PICTURES.items()})
        self.serve("names", {"package/data/openmoji.json": json.dumps(TABLE).encode()})
        self.serve("@shop/photos", {MEMBER: b"chair"})
        self.script(
            f'echo "$@" >> "{self.log}"\n'
            "for spec; do case $spec in -*|pack) ;; *) file=$(echo ${spec#@} | tr /@ --).tgz\n"
            f'cp "{self.folder}/$file" . ;; esac; done'
        )
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.pin(monkeypatch)
        monkeypatch.setattr(sample_icons, "ICON_COUNT", 3)

    def pin(self, monkeypatch):
        """Expect the packages as they are now."""
        for module in (sample, sample_icons):
            for name in ("pictures", "names"):
                monkeypatch.setattr(module, name.upper(), self.package(name))
        photo = PackedPhoto(self.package("@shop/photos"), MEMBER, "photos/chairs/stool.jpg", "Ada Lovelace", "CC0")
        for place in ("app.setup.sample.packed_photos", "app.setup.sample_photos.packed_photos"):
            monkeypatch.setattr(place, lambda: iter([photo]))

    def package(self, name):
        return NpmPackage(f"{name}@1.0.0", hashlib.sha512(self.archive(name).read_bytes()).hexdigest())

    def archive(self, name):
        return self.folder / f"{name.removeprefix('@').replace('/', '-')}-1.0.0.tgz"

    def serve(self, name, files):
        self.archive(name).write_bytes(archive(files))

    def script(self, text):
        (self.bin / "npm").write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / "npm").chmod(0o755)

    def asked(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def registry(tmp_path, monkeypatch):
    (tmp_path / "registry").mkdir()
    return Registry(tmp_path / "registry", monkeypatch)


@pytest.fixture
def scikit_image(tmp_path, monkeypatch):
    """A package skimage with the photographs that the real one carries, by name."""
    data = tmp_path / "site" / "skimage" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('only looked for, never imported')")
    for name in sample.SCIKIT_IMAGE_PHOTOS:
        (data / name).write_bytes(name.encode())
    monkeypatch.syspath_prepend(tmp_path / "site")
    return data


@pytest.fixture
def no_scikit_image(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("registry")
def test_pictures_get_readable_names_in_folders_that_become_tags(tmp_path):
    photos = ensure_sample(tmp_path / "sample")
    assert names(photos) == [
        "icons/objects/clothing/man's shoe.webp",
        "icons/objects/tool/hammer.webp",
        "icons/travel-places/transport-air/airplane.webp",
        "photos/chairs/stool.jpg",
    ]
    assert (photos / "icons/objects/tool/hammer.webp").read_bytes() == b"hammer"
    assert (photos / "photos/chairs/stool.jpg").read_bytes() == b"chair"
    licences = (tmp_path / "sample" / "LICENCES.md").read_text()
    assert "| photos/chairs/stool.jpg | Ada Lovelace | CC0 | `@shop/photos@1.0.0` |" in licences
    assert "MIT" in licences


def test_a_second_run_asks_for_nothing(registry, tmp_path):
    ensure_sample(tmp_path / "sample")
    asked = registry.asked()
    assert len(asked) == 1
    assert "--ignore-scripts" in asked[0]
    ensure_sample(tmp_path / "sample")
    assert registry.asked() == asked


@pytest.mark.usefixtures("registry")
def test_photos_deleted_by_the_user_stay_deleted(tmp_path):
    photos = ensure_sample(tmp_path / "sample")
    (photos / "icons/objects/tool/hammer.webp").unlink()
    assert "icons/objects/tool/hammer.webp" not in names(ensure_sample(tmp_path / "sample"))


@pytest.mark.usefixtures("scikit_image")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "E404"),
        ("echo not an archive > shop-photos-1.0.0.tgz", "SHA-512 differs"),
        ("true", "left no archive"),
    ],
)
def test_without_the_packages_a_few_photographs_take_their_place(script, reason, registry, tmp_path):
    registry.script(script)
    said: list[str] = []
    photos = ensure_sample(tmp_path / "sample", said.append)
    assert names(photos) == sorted(sample.SCIKIT_IMAGE_PHOTOS.values())
    assert reason in said[-1]
    assert "scikit-image" in said[-1]
    assert "scikit-image" in (tmp_path / "sample" / "LICENCES.md").read_text()


@pytest.mark.usefixtures("scikit_image")
def test_without_npm_that_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    ensure_sample(tmp_path / "sample", said.append)
    assert len(said) == 1
    assert said[0].startswith("npm is not installed")


@pytest.mark.usefixtures("scikit_image")
def test_npm_installed_later_brings_the_full_sample_and_keeps_what_was_added(registry, tmp_path):
    npm_script = (registry.bin / "npm").read_text()
    registry.script("exit 1")
    photos = ensure_sample(tmp_path / "sample")
    (photos / "uploads").mkdir()
    (photos / "uploads" / "mine.jpg").write_bytes(b"mine")
    registry.script(npm_script.partition("\n")[2])
    ensure_sample(tmp_path / "sample")
    assert (photos / "uploads" / "mine.jpg").read_bytes() == b"mine"
    assert (photos / "icons/objects/tool/hammer.webp").exists()
    assert not (photos / "animals/cat.png").exists()


@pytest.mark.usefixtures("no_scikit_image")
def test_with_neither_the_error_says_what_to_do(registry, tmp_path):
    registry.script("exit 1")
    with pytest.raises(SampleError, match=r"Install npm.*PHOTOS="):
        ensure_sample(tmp_path / "sample")
    assert names(tmp_path / "sample") == []


@pytest.mark.usefixtures("registry", "no_scikit_image")
def test_a_wrong_number_of_pictures_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_icons, "ICON_COUNT", 4)
    with pytest.raises(SampleError):
        ensure_sample(tmp_path / "sample")
    assert not (tmp_path / "sample" / "photos").exists()


@pytest.mark.usefixtures("registry")
def test_an_interrupted_run_leaves_nothing_and_the_next_one_succeeds(tmp_path, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample_icons, "_unpack_named", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ensure_sample(tmp_path / "sample")
    assert list((tmp_path / "sample").iterdir()) == []
    assert len(names(ensure_sample(tmp_path / "sample"))) == 4


def test_names_inside_an_archive_are_never_used_as_paths(registry, tmp_path, monkeypatch):
    files = {f"package/assets/{code}.webp": data for code, data in PICTURES.items()}
    registry.serve("pictures", {**files, "../../escaped.webp": b"x", "package/assets/../1f528.webp": b"x"})
    registry.pin(monkeypatch)
    photos = ensure_sample(tmp_path / "sample")
    assert (photos / "icons/objects/tool/hammer.webp").read_bytes() == b"hammer"
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.usefixtures("scikit_image")
def test_npm_that_hangs_is_given_up(registry, tmp_path, monkeypatch):
    registry.script("exec sleep 30")
    monkeypatch.setattr(npm, "TIMEOUT_S", 0.2)
    said: list[str] = []
    ensure_sample(tmp_path / "sample", said.append)
    assert "within" in said[-1]


def test_look_alikes_symbols_and_unsafe_names_are_left_out_or_made_safe():
    table = [
        entry("1", "woman running", "people-body", "person-activity"),
        entry("2", "person running", "people-body", "person-activity"),
        entry("3", "blue heart", "smileys-emotion", "heart"),
        entry("4", "red heart", "smileys-emotion", "heart"),
        entry("5", "../../etc/passwd"),
        entry("6", "AXE"),
        entry("7", "axe"),
        entry("8", "Aries", "symbols", "zodiac"),
        entry("9", ".."),
    ]
    assert chosen_names(table) == {
        "2": "icons/people-body/person-activity/person running",
        "4": "icons/smileys-emotion/heart/red heart",
        "5": "icons/objects/tool/etcpasswd",
        "6": "icons/objects/tool/AXE",
        "9": "icons/objects/tool/unnamed",
    }


@pytest.mark.usefixtures("scikit_image")
def test_a_package_without_its_photo_is_refused(registry, tmp_path, monkeypatch):
    registry.serve("@shop/photos", {"package/README.md": b"moved"})
    registry.pin(monkeypatch)
    said: list[str] = []
    photos = ensure_sample(tmp_path / "sample", said.append)
    assert MEMBER in said[-1]
    assert names(photos) == sorted(sample.SCIKIT_IMAGE_PHOTOS.values())


def test_each_photo_has_a_place_of_its_own_a_name_and_a_checked_package():
    photos = list(packed_photos())
    assert len(photos) == PHOTO_COUNT == len({photo.path.lower() for photo in photos})
    assert all(photo.by and photo.licence and len(photo.package.sha512) == 128 for photo in photos)
