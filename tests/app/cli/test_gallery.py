"""The command line, as people and scripts call it."""

from __future__ import annotations

import json
import runpy
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from app.cli.gallery import cli
from index_builder import GallerySnapshot, export_descriptors
from index_builder.gallery_errors import GalleryError, GalleryNotFoundError, GalleryWriteError, UnknownPhotoError
from model.checkpoints.files import load_checkpoint, save_checkpoint
from tests.index_builder.conftest import tiny_network
from tests.index_builder.pictures import write_photo


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for index in range(10):
        write_photo(root / ("cat" if index % 2 else "dog") / f"{index}.jpg", seed=index)
    return root


@pytest.fixture
def network():
    return tiny_network(0)


@pytest.fixture
def checkpoint(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(network, path)
    return path


@pytest.fixture
def run(tmp_path, checkpoint):
    def run(*arguments, code=0):
        common = ["--gallery", str(tmp_path / "g")]
        if arguments[0] in ("build", "add", "sync", "rebuild", "index"):
            common += ["--checkpoint", str(checkpoint)]
        if arguments[0] in ("build", "add", "sync", "rebuild"):
            common += ["--device", "cpu", "--dtype", "float32"]
        result = CliRunner().invoke(cli, [*map(str, arguments), *common])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run


def test_a_gallery_from_build_to_export(run, tmp_path, photos, checkpoint):
    (photos / "bad\nname.jpg").write_bytes(b"no photo")
    built = run("build", photos, "--json")
    assert (built["added"], built["skipped"]["count"]) == (10, 1)
    assert built["skipped"]["reasons"][0]["first"] == ["bad\nname.jpg"]
    text = run("build", photos)
    assert "10 unchanged, 1 skipped" in text
    assert "skipped bad\\nname.jpg: " in text
    (photos / "bad\nname.jpg").unlink()

    values = run("info", "--json")
    assert values["photos"] == 10
    assert values["version"] == built["version"]
    assert values["checkpoint"] == "zse-tiny"
    assert values["bytes_per_photo"] > 0
    assert "bytes_per_photo" in run("info")

    (photos / "cat" / "1.jpg").unlink()
    write_photo(photos / "cat" / "new.jpg", 30)
    assert run("add", "cat/new.jpg", "--json")["added"] == 1
    assert run("remove", "dog", "cat/3.jpg", "--json")["removed"] == 6
    with pytest.raises(UnknownPhotoError, match=r"cat/gone\.jpg"):
        run("remove", "cat/gone.jpg", "cat/5.jpg")
    assert run("info", "--json")["photos"] == 5
    synced = run("sync", "--json")
    assert (synced["added"], synced["removed"], synced["photos"]) == (6, 1, 10)
    assert run("rebuild", "--json")["photos"] == 10

    verified = run("verify", "--json")
    assert verified["whole"]
    assert verified["decoded"] == 10
    assert "is whole" in run("verify")
    snapshot = GallerySnapshot.load(tmp_path / "g", load_checkpoint(checkpoint, "cpu", "float32").identity)
    by_id = {photo: snapshot.descriptors([row])[0].tolist() for row, photo in enumerate(snapshot.photo_ids)}
    assert run("export", tmp_path / "d.npy", "--json")["photos"] == 10
    ids = (tmp_path / "d.ids.txt").read_text().split()
    assert dict(zip(ids, np.load(tmp_path / "d.npy").tolist(), strict=True)) == by_id
    assert "10 descriptors" in run("export", tmp_path / "d.parquet")
    table = pq.read_table(tmp_path / "d.parquet").to_pydict()
    assert dict(zip(table["photo_id"], table["descriptor"], strict=True)) == by_id
    assert "cat/new.jpg" in table["path"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_verify_fails_when_something_is_damaged(run, tmp_path, photos):
    run("build", photos)
    (photos / "cat" / "1.jpg").unlink()
    file = next((tmp_path / "g" / "photos-1.lance" / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    report = run("verify", "--json", code=1)
    assert not report["whole"]
    assert any(file.name in problem["where"] for problem in report["problems"])
    assert file.name in run("verify", code=1)


def test_verify_says_which_photo_is_gone(run, photos):
    run("build", photos)
    (photos / "cat" / "1.jpg").unlink()
    problems = run("verify", "--json", code=1)["problems"]
    assert len(problems) == 1
    assert problems[0]["where"].endswith("cat/1.jpg")
    assert "sync" in problems[0]["what"]
    assert run("verify", "--sample", "0", "--json")["decoded"] == 0


def test_strict(run, photos):
    (photos / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(GalleryError, match=r"bad\.jpg"):
        run("build", photos, "--strict")
    assert run("info", "--json")["photos"] == 10


def test_errors_of_export(run, tmp_path, photos):
    with pytest.raises(GalleryNotFoundError):
        export_descriptors(tmp_path / "g", tmp_path / "d.npy")
    run("build", photos)
    with pytest.raises(GalleryError, match=r"\.npy or \.parquet"):
        export_descriptors(tmp_path / "g", tmp_path / "d.csv")
    with pytest.raises(GalleryWriteError):
        export_descriptors(tmp_path / "g", tmp_path / "nowhere" / "d.npy")


def test_as_a_module_an_error_is_one_line_and_exit_code_1(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["index_builder", "info", "--gallery", str(tmp_path / "g")])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("index_builder", run_name="__main__")
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("sketchseek: there is no gallery at")
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_index_says_that_a_flat_index_is_not_kept(run, photos):
    run("build", photos)
    assert "as at every start" in run("index", "--recall", "flat")


def test_an_index_is_kept_where_the_service_looks_for_it(run, photos, tmp_path, monkeypatch):
    run("build", photos)
    monkeypatch.setenv("SKETCHSEEK_CACHE", str(tmp_path / "cache"))
    real, kept = GallerySnapshot.load, []

    def load(*arguments, **options):
        kept.append(options["recall"].cache)
        return real(*arguments, **options)

    monkeypatch.setattr(GallerySnapshot, "load", load)
    run("index", "--recall", "flat")
    assert kept == [tmp_path / "cache"]


def test_held_photos_are_reported_and_accepted(run, tmp_path, photos):
    run("build", photos)
    photos.rename(tmp_path / "elsewhere")
    photos.mkdir()
    text = run("sync", code=3)
    assert f"held 10 photos: the folder {photos} has none of its photos any more; mount it, or run" in text
    assert "0 removed" in text
    values = run("sync", "--json", code=3)
    assert values["held"] == [
        {
            "folder": "photos",
            "place": str(photos),
            "photos": 10,
            "code": "emptied",
            "reason": "has none of its photos any more",
        }
    ]
    write_photo(photos / "new.jpg", 30)
    assert run("sync", "--most-lost", 100, code=3).count("held 10 photos")
    assert run("sync", "--accept-loss", "--json")["photos"] == 1


def test_links_to_named_folders_are_followed(run, tmp_path, photos, monkeypatch):
    write_photo(tmp_path / "nas" / "0.jpg", 40)
    (photos / "nas").symlink_to(tmp_path / "nas")
    assert "--follow-links-to" in run("build", photos)
    assert run("sync", "--follow-links-to", tmp_path / "nas", "--json")["added"] == 1
    assert run("sync", "--json")["removed"] == 0
    assert run("sync", "--follow-links-to", "", "--json")["removed"] == 1
    monkeypatch.setenv("SKETCHSEEK_FOLLOW_LINKS_TO", f"{tmp_path}/other:{tmp_path}/nas")
    assert run("sync", "--json")["added"] == 1
