"""Who reads the texts of a checkpoint: its own CLIP text tower, or the sentence encoder that the others share."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from model.errors import MissingExtraError
from model.text.clip_tower import ClipTower
from model.text.sentence_encoder import sentence_encoder

_LOADING = threading.Lock()


class TextReader(Protocol):
    """Embeds texts."""

    def knows(self, text: str) -> bool:
        """Whether anything can be said of the text."""

    def embedding(self, text: str) -> Tensor:
        """[T] float32 on the CPU, L2-normalised."""


def text_reader(tower: ClipTower | None) -> TextReader:
    """What embeds the texts of a checkpoint.

    Args:
        tower: the checkpoint's own text tower, `text_map.tower`; None takes the sentence encoder.

    Raises:
        MissingExtraError: what it needs is not installed.
    """
    if tower is None:
        return sentence_encoder()
    with _LOADING:
        return ClipReader(tower, _tokenizer())


class ClipReader:
    """Embeds texts with CLIP's text tower. Threads may share one.

    Args:
        tower: on any device.
        tokenizer: open_clip's `SimpleTokenizer`, CLIP's own.
    """

    def __init__(self, tower: ClipTower, tokenizer: Any) -> None:
        self._tower, self._tokenizer = tower, tokenizer

    def knows(self, text: str) -> bool:
        """Whether there is any piece between the beginning and the end; CLIP spells what it does not know."""
        return len(self._pieces(text)) > 2

    def embedding(self, text: str) -> Tensor:
        """[T] float32 on the CPU, L2-normalised. Of a long text, what goes beyond the context is not read."""
        with torch.inference_mode():
            embedded: Tensor = self._tower(self._pieces(text).to(self._tower.places.device)).float().cpu()
        return embedded.clone()

    def _pieces(self, text: str) -> Tensor:
        """[N] int64, from the beginning to the end of the text, without what pads it."""
        readable = text.encode("utf-8", "ignore").decode()  # half of a surrogate pair
        padded: Tensor = self._tokenizer([readable], self._tower.config.context)[0]
        return padded[: int(padded.argmax()) + 1]  # the end has the highest number


@cache
def _tokenizer() -> Any:
    try:
        from model.backbones.torchvision_guard import import_torchvision

        import_torchvision()  # called here, because open_clip imports torchvision too and sorters move imports
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "reading text with this checkpoint needs the extra 'clip': pip install 'sketchseek[clip]'"
        ) from error
    return SimpleTokenizer()
