"""Encodings of the pictures that searched last.

Whoever scrolls on, adds a word or sets a filter sends the same drawing again. As long as it is remembered, it is not
encoded a second time, and recall finds the same for it. In 16 bits, a drawing among others is rounded differently from
one that comes alone, which may move what is nearly as near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from app.bounded_cache import BoundedCache
from app.search.query_parts import Picture
from model.device_faults import is_memory_short
from model.types import Encoding


class RememberedEncodings:
    """Encodings of one network's pictures, by name. Safe to use from several threads.

    Args:
        capacity: bytes kept on the network's device. The least recently used ones go first; 0 keeps none.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._kept: BoundedCache[bytes, Encoding] = BoundedCache(capacity)

    def each(self, pictures: Sequence[Picture | None], encode: Callable[[Tensor], Encoding]) -> list[Encoding | None]:
        """The encodings, each of length 1, of the pictures that are there.

        Args:
            pictures: Q of them, or None.
            encode: [B, 3, S, S] -> B encodings. It is asked at most once, for those that are not remembered.
        """
        names = [None if one is None or not self._kept.capacity else one.name for one in pictures]
        found = [None if name is None else self._kept.get(name) for name in names]
        first: dict[bytes | int, int] = {}  # the first picture of each name; one without a name is its own
        for number, one in enumerate(pictures):
            if one is not None and found[number] is None:
                first.setdefault(_key(names[number], number), number)
        if not first:
            return found
        encoded = encode(torch.stack([one.image for number in first.values() if (one := pictures[number]) is not None]))
        made = {key: encoded[place : place + 1] for place, key in enumerate(first)}
        for number, one in enumerate(pictures):
            if one is not None and found[number] is None:
                found[number] = made[_key(names[number], number)]
        for key, encoding in made.items():
            if isinstance(key, bytes):
                self._keep(key, encoding)
        return found

    def _keep(self, name: bytes, encoding: Encoding) -> None:
        try:
            own = encoding.clone()  # a part of a batch would keep all of it
        except (RuntimeError, MemoryError) as error:
            if not is_memory_short(error):
                raise
            return  # the search has its encoding, and goes on
        self._kept.keep(name, own, own.nbytes)


def _key(name: bytes | None, number: int) -> bytes | int:
    return number if name is None else name
