"""A CLIP's text tower against the library that such files come from, on a small CLIP with random weights."""

import sys
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from model.backbones.timm_backbones import create_backbone
from model.backbones.weight_files import read_weights
from model.errors import CheckpointError, MissingExtraError
from model.text.clip_tower import tower_from
from model.text.text_reader import ClipReader, text_reader
from tests.model.text.small_clip import BACKBONE, small_clip

TEXTS = ("a cat", "a red umbrella on a beach", "Ünïcode  CASE", "un perro", "word " * 200)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def tower(clip):
    found = tower_from(read_weights(clip.file), quick=False)
    assert found is not None
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_embeddings_are_those_of_the_library(clip, tower, text):
    with torch.no_grad():
        theirs = F.normalize(clip.network.encode_text(clip.tokenizer([text]))[0], dim=0)
    ours = text_reader(tower).embedding(text)
    assert not ours.is_inference()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_what_it_knows(tower):
    reader = text_reader(tower)
    assert isinstance(reader, ClipReader)
    assert reader.knows("cat")
    assert reader.knows("🐈")
    assert not reader.knows("")
    assert not reader.knows("\ud800")


def test_the_image_tower_of_the_same_file_starts_a_backbone(clip):
    from model.config import EncoderConfig

    backbone = create_backbone(EncoderConfig(backbone=BACKBONE, width=256), 224, clip.file)
    weights = clip.network.state_dict()
    torch.testing.assert_close(backbone.state_dict()["pos_embed"][0], weights["visual.positional_embedding"])
    torch.testing.assert_close(backbone.state_dict()["blocks.9.mlp.fc2.bias"],
                               weights["visual.transformer.resblocks.9.mlp.c_proj.bias"])  # fmt: skip


def test_an_image_tower_alone_has_no_text(clip):
    visual = {name: value for name, value in read_weights(clip.file).items() if name.startswith("visual.")}
    assert tower_from(visual, quick=False) is None


@pytest.mark.parametrize("lost", ["ln_final.bias", "text_projection", "transformer.resblocks.0.attn.in_proj_weight"])
def test_half_a_tower_is_refused(clip, lost):
    weights = read_weights(clip.file)
    del weights[lost]
    with pytest.raises(CheckpointError, match="not that of a CLIP"):
        tower_from(weights, quick=False)


def test_without_the_extra_it_is_named(tower, monkeypatch):
    from model.text import text_reader as module

    module._tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sketchseek\[clip\]'"):
        text_reader(tower)


def test_torchvision_is_imported_with_care_before_the_tokenizer_asks_for_it(monkeypatch):
    """It fails beside a torch of another kind, unless the guard imports it first."""
    from model.text import text_reader as module

    order = []

    class Library(ModuleType):
        def __getattr__(self, name):
            if name == "SimpleTokenizer":
                order.append("open_clip")
                return object
            raise AttributeError(name)

    module._tokenizer.cache_clear()
    monkeypatch.setattr("model.backbones.torchvision_guard.import_torchvision", lambda: order.append("guard"))
    for name in ("open_clip", "open_clip.tokenizer"):
        monkeypatch.setitem(sys.modules, name, Library(name))
    module._tokenizer()
    module._tokenizer.cache_clear()
    assert order == ["guard", "open_clip"]
