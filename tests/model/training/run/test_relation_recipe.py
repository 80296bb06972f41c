"""The recipe that trains the relation alone: which sketches and photos it takes for belonging together."""

import importlib.util
import shutil
import sys

import pytest

from model.checkpoints.files import save_checkpoint
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.model.training.conftest import draw_collection
from tests.paths import ROOT

TRAIN = ROOT / "train"


class ReachedError(Exception):
    """Ends the recipe where it would begin to train."""


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAIN))
    spec = importlib.util.spec_from_file_location("relation_recipe", TRAIN / "relation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("zse_lite", None)


def test_sketches_and_photos_are_labelled_on_one_scale(recipe, tmp_path, monkeypatch):
    """A category of photos alone comes first, so that places among the categories of one side differ."""
    data = draw_collection(tmp_path / "data", ("abacus", "bee", "dog"), each=2)
    shutil.rmtree(data / "sketch" / "abacus")
    checkpoint = tmp_path / "tiny.safetensors"
    save_checkpoint(build_network(ZSE_TINY, seed=0), checkpoint)
    met = []

    def fit(*given):
        met.append(given[3])  # [S, P], which sketch and photo belong together
        raise ReachedError

    monkeypatch.setattr(recipe, "fit", fit)
    monkeypatch.setattr(sys, "argv", ["relation.py", str(checkpoint), str(tmp_path / "out"), "--data", str(data)])
    with pytest.raises(ReachedError):
        recipe.main()
    own = [[False, False, True, True, False, False]] * 2 + [[False, False, False, False, True, True]] * 2
    assert met[0].tolist() == own
