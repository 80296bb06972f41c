"""The numbers of an evaluation hold through HTTP: benchmarks/agreement.py on a small gallery, and what it notices."""

import re
import runpy

import pytest

from app.main import create_app
from model.checkpoints.files import load_checkpoint
from tests.app.conftest import settings_for, sketch
from tests.app.http.fuzz import running
from tests.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "agreement.py"


@pytest.fixture(scope="module")
def script():
    """What the script defines, with its folder on the path as if it was run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        return runpy.run_path(str(SCRIPT))


@pytest.fixture
def drawn(tmp_path):
    for number, category in enumerate(("animals", "things")):
        (tmp_path / "sketches" / category).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "sketches" / category / f"{index}.png").write_bytes(sketch(10 * number + index))
    return tmp_path / "sketches"


def test_the_service_ranks_as_the_searcher_does(script, shared_gallery, checkpoint, drawn, capsys):
    network = load_checkpoint(checkpoint, "cpu")
    with running(create_app(settings_for(shared_gallery), network)) as url:
        given = ["--url", url, "--gallery", shared_gallery, "--sketches", drawn, "--photos"]
        given += [shared_gallery.parent / "photos", "--checkpoint", checkpoint, "--device", "cpu"]
        assert script["main"]([str(one) for one in given]) == 0
    said = capsys.readouterr().out
    assert "6 sketches of 2 categories, 13 photos, 13 candidates" in said
    assert "6 equal, 0 but for photos" in said
    over_http, here, evaluated = re.findall(r"^(?:over|in|as) .*P@10 ([\d.]+)", said, re.MULTILINE)
    assert over_http == here
    assert abs(float(evaluated) - float(here)) < 0.2
    assert float(over_http) > 0


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ((["a", "b", "c"], [0.9, 0.8, 0.7]), "equal"),
        ((["a", "b", "c"], [0.9, 0.8, 0.6]), "other"),
        ((["b", "a", "c"], [0.9, 0.8, 0.7]), "other"),
        ((["a", "b"], [0.9, 0.8]), "other"),
        ((["a", "b", "d"], [0.9, 0.8, 0.7]), "ties"),
        ((["a", "d", "c"], [0.9, 0.8, 0.7]), "other"),
    ],
)
def test_rankings_are_compared(script, other, verdict):
    ranking = script["Ranking"]
    assert script["differences"](ranking(["a", "b", "c"], [0.9, 0.8, 0.7]), ranking(*other))[0] == verdict


def test_photos_of_one_score_may_change_places(script):
    ranking = script["Ranking"]
    one, other = ranking(["a", "b", "c"], [0.9, 0.8, 0.8]), ranking(["a", "c", "b"], [0.9, 0.8, 0.8])
    assert script["differences"](one, other) == ("ties", 0.0)
