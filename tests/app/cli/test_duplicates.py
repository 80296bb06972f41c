"""`sketchseek gallery duplicates`: photos that are there more than once, for people and for programs."""

from __future__ import annotations

import json
import shutil

import pytest

from app.cli import main
from index_builder import BuildOptions, build_gallery
from tests.app.conftest import picture


@pytest.fixture
def twice(tmp_path, network):
    """A gallery in which one photo lies twice, and once more at half its size."""
    root = tmp_path / "photos"
    (root / "pets").mkdir(parents=True)
    for seed in range(4):
        picture(seed).save(root / f"{seed}.png")
    shutil.copy(root / "1.png", root / "pets" / "copy\n.png")
    half = picture(1)
    half.resize((half.width // 2, half.height // 2)).save(root / "pets" / "small.png")
    build_gallery(root, tmp_path / "g", network, options=BuildOptions(workers=1))
    return tmp_path / "g"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["gallery", "duplicates", *map(str, arguments)])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_they_are_listed_for_people_and_for_programs(twice, capsys):
    code, out, _ = run(capsys, "--gallery", twice, "--json", "--threshold", 1)
    listed = json.loads(out)
    assert (code, listed["photos"]) == (0, 6)
    group = next(one for one in listed["groups"] if "1.png" in {photo["path"] for photo in one["photos"]})
    assert "pets/copy\n.png" in {photo["path"] for photo in group["photos"]}
    assert listed["extra"] == sum(len(one["photos"]) - 1 for one in listed["groups"])
    assert all(photo["content_hash"] and photo["photo_id"] for one in listed["groups"] for photo in one["photos"])
    code, out, _ = run(capsys, "--gallery", twice, "--threshold", 1)
    assert code == 0
    assert any(line.endswith("pets/copy\\n.png  same content") for line in out.splitlines())
    assert out.splitlines()[-1].startswith(f"{len(listed['groups'])} groups: {listed['extra']} of 6 photos")


def test_a_gallery_that_is_not_there_is_one_line(tmp_path, capsys):
    code, _, err = run(capsys, "--gallery", tmp_path / "none")
    assert code == 1
    assert "there is no gallery" in err
