"""`sketchseek explain` on a small gallery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from app.cli import main
from tests.app.conftest import sketch


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    file = tmp_path / "sketch.png"
    file.write_bytes(sketch())
    return file


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *map(str, arguments)])
    assert ended.value.code in (0, None), ended.value.code


def test_it_names_patches_and_draws(
    drawing: Path, shared_gallery: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu")
    run(drawing, *where, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["grid"] == 4
    assert document["correspondences"]
    run(drawing, document["photo_id"], *where)
    assert "sketch row" in capsys.readouterr().out
    run(drawing, "animals/animals-1.png", *where, "--json")
    assert json.loads(capsys.readouterr().out)["photo_id"]
    for kind, universal in (("overlay", 1), ("attention", 1), ("synthesis", 1), ("synthesis", 5)):
        file = tmp_path / f"{kind}-{universal}.png"
        run(drawing, *where, "--picture", file, "--kind", kind, "--universal", universal)
        with Image.open(file) as picture:
            assert min(picture.size) > 100


def test_an_unknown_photo_and_a_bad_file_name_are_one_line(
    drawing: Path, shared_gallery: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu")
    for arguments, said in (
        ((drawing, "nothing.png", *where), "nothing.png"),
        ((drawing, *where, "--picture", tmp_path / "picture.words"), ".png"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["explain", *map(str, arguments)])
        assert ended.value.code == 1
        assert said in capsys.readouterr().err
