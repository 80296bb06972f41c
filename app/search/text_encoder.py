"""From words to a descriptor, so that a gallery is searched by text as it is by a sketch."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from model.errors import MissingExtraError, SketchseekError
from model.networks.network import Network
from model.text.sentence_encoder import phrase
from model.text.text_reader import text_reader

MOST_CHARACTERS = 300
"""Of a text, after blanks were joined."""
_KEPT = 1024  # answers, of 1 KB each


class TextQueryError(SketchseekError):
    """A text cannot search.

    Attributes:
        code: "invalid_text" (empty, too long, no word known), "text_not_supported" (the checkpoint has no map of
            words) or "text_not_installed" (the extra is missing).
    """

    def __init__(
        self, message: str, code: Literal["invalid_text", "text_not_supported", "text_not_installed"] = "invalid_text"
    ) -> None:
        super().__init__(message)
        self.code = code


class TextEncoder:
    """Encodes texts on the CPU; threads may share one. The sentence encoder is loaded at the first text.

    Args:
        network: whose descriptors are searched.
    """

    def __init__(self, network: Network) -> None:
        self._map = None if network.text_map is None else deepcopy(network.text_map).cpu()
        self._name = network.identity.name
        self._remembered = lru_cache(_KEPT)(self._encode)

    def descriptor(self, text: str) -> npt.NDArray[np.float32]:
        """[E] float32, L2-normalised: where photos of what the text says would lie.

        Raises:
            TextQueryError: see there.
        """
        words = " ".join(text.split())
        if not words:
            raise TextQueryError("the text is empty: write what the photo shows, such as 'a red umbrella'")
        if len(words) > MOST_CHARACTERS:
            raise TextQueryError(f"the text has {len(words)} characters; at most {MOST_CHARACTERS} are read")
        return self._remembered(words).copy()  # what is remembered stays as it is

    def _encode(self, words: str) -> npt.NDArray[np.float32]:
        if self._map is None:
            raise TextQueryError(
                f"the checkpoint {self._name!r} has no map of words, so it is searched by sketches and photos alone",
                "text_not_supported",
            )
        try:
            encoder = text_reader(self._map.tower)
        except MissingExtraError as error:
            raise TextQueryError(f"{error}, where the service runs", "text_not_installed") from error
        if not encoder.knows(words):
            raise TextQueryError("the text has no word that the sentence encoder knows: write it in English")
        with torch.inference_mode():
            descriptor: npt.NDArray[np.float32] = self._map(encoder.embedding(phrase(words))[None])[0].numpy()
        return descriptor
