"""Encodings of the pictures that searched last.

Whoever scrolls on, adds a word or sets a filter sends the same drawing again. It is not encoded a second time, and the
pages of an answer belong together: in 16 bits, a drawing among others is rounded differently from one that comes alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from model.types import Encoding


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that searches.

    Attributes:
        image: [3, S, S] float32, as the network takes it.
        name: the same for the same picture; None if its encoding is not to be remembered.
    """

    image: Tensor
    name: bytes | None = None


def name_of(pixels: Image.Image, kind: Literal["sketch", "photo"]) -> bytes:
    """The name of a picture, RGB, S x S, as the network sees it: sketches and photos are encoded differently."""
    return hashlib.sha256(kind.encode() + pixels.tobytes()).digest()


class RememberedEncodings:
    """Encodings of one network's pictures, by name. Safe to use from several threads.

    Args:
        capacity: bytes kept on the network's device. The least recently used ones go first; 0 keeps none.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[bytes, Encoding] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def each(self, pictures: Sequence[Picture | None], encode: Callable[[Tensor], Encoding]) -> list[Encoding | None]:
        """The encodings, each of length 1, of the pictures that are there.

        Args:
            pictures: Q of them, or None.
            encode: [B, 3, S, S] -> B encodings. It is asked once, for those that are not remembered.
        """
        found = [None if one is None else self._recalled(one.name) for one in pictures]
        first: dict[bytes | int, int] = {}  # of several pictures of one name; others stand for themselves
        for number, one in enumerate(pictures):
            if one is not None and found[number] is None:
                first.setdefault(number if one.name is None else one.name, number)
        if not first:
            return found
        encoded = encode(torch.stack([one.image for number in first.values() if (one := pictures[number]) is not None]))
        made = {key: encoded[place : place + 1] for place, key in enumerate(first)}
        for number, one in enumerate(pictures):
            if one is not None and found[number] is None:
                found[number] = made[number if one.name is None else one.name]
        for key, encoding in made.items():
            if isinstance(key, bytes):
                self._keep(key, encoding)
        return found

    def _recalled(self, name: bytes | None) -> Encoding | None:
        if name is None or not self._capacity:
            return None
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def _keep(self, name: bytes, encoding: Encoding) -> None:
        size = encoding.nbytes
        if size > self._capacity:
            return
        own = encoding.clone()  # a part of a batch would keep all of it
        with self._lock:
            if name in self._kept:
                return
            self._kept[name] = own
            self._bytes += size
            while self._bytes > self._capacity:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
