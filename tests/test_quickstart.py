"""The README's lines of Python and the notebook do what they say, on pictures of this test."""

import json
import re
import shutil
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from tests.paths import ROOT

NOTEBOOK = json.loads((ROOT / "notebooks" / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the drawing of the README, and `photos/` with five pictures of that thing and five others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "docs" / "umbrella.png", "docs")
    with Image.open("docs/umbrella.png") as drawing:
        umbrella = drawing.convert("L")
    for number, colour in enumerate(("red", "navy", "green", "purple", "black")):
        ImageOps.colorize(umbrella.rotate(4 * number - 8, fillcolor=255), colour, "white").save(
            f"photos/umbrella {number}.png"
        )
        picture = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(picture).rectangle((8, 8, 20 + 15 * number, 88), fill=(40 * number, 90, 200 - 30 * number))
        picture.save(f"photos/{number}.png")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_lines_of_python_in_the_readme_find_the_picture_that_was_drawn(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own page
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert re.fullmatch(r"1 [\d.]+ umbrella \d\.png", printed[0])


def test_the_notebook_searches_explains_and_evaluates(here, capsys, monkeypatch):
    monkeypatch.setenv("SKETCHSEEK_PHOTOS", str(here / "photos"))
    monkeypatch.setenv("SKETCHSEEK_GALLERY", str(here / "gallery"))
    monkeypatch.setattr("tempfile.tempdir", str(here))
    names: dict[str, Any] = {}
    for number, code in enumerate(CODE):
        exec(compile(code, f"quickstart.ipynb, code cell {number}", "exec"), names)  # noqa: S102 - our own notebook
    printed = capsys.readouterr().out
    assert "10 pictures, 10 of them new" in printed
    assert re.search(r"^1 [\d.]+ umbrella \d\.png$", printed, re.MULTILINE)
    assert re.search(r"^10 tracings, found first: \d+%, chance 10%$", printed, re.MULTILINE)
    assert names["measured"]["acc_1"] > names["measured"]["chance_acc_1"]
    assert len(names["picture"].getcolors(10**6)) > 100  # colours and numbers of pairs


def test_the_notebook_is_committed_without_outputs():
    for cell in NOTEBOOK["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
