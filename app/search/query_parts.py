"""The parts of one query: what a person draws, says, shows, likes and dislikes, and how much each of them counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from model.score_rules import QueryKind

PartName = Literal["sketch", "text", "photo", "like", "unlike"]
PART_NAMES: tuple[PartName, ...] = ("sketch", "text", "photo", "like", "unlike")
"""In the order in which they are added up, so that it does not matter in which order they come."""
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PartWeights:
    """How much each part counts, at least 0; with 0 it is left out."""

    sketch: float = 1.0
    text: float = 1.0
    photo: float = 1.0
    like: float = 1.0
    unlike: float = 1.0

    @classmethod
    def among(cls, options: object) -> PartWeights:
        """What the attributes `sketch_weight`, `text_weight` and so on of a client's options say."""
        return cls(**{name: getattr(options, f"{name}_weight") for name in PART_NAMES})

    def of(self, name: PartName) -> float:
        """The weight of one part."""
        weight: float = getattr(self, name)
        return weight


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that searches.

    Attributes:
        image: [3, S, S] float32, as the network takes it.
        name: the same for the same pixels of one kind; None if its encoding is not to be remembered.
    """

    image: Tensor
    name: bytes | None = None


def name_of(pixels: Image.Image, kind: Literal["sketch", "photo"]) -> bytes:
    """The name of a picture, RGB, S x S, as the network sees it: sketches and photos are encoded differently."""
    return hashlib.sha256(kind.encode() + pixels.tobytes()).digest()


@dataclass(frozen=True, eq=False)
class QueryParts:
    """What one query is made of, ready for the device.

    Attributes:
        sketch: [3, S, S] float32 from `TwoStageSearcher.prepare`, or None.
        text: [E] float32, L2-normalised: where the words point in descriptor space; or None.
        photo: [3, S, S] float32 from `TwoStageSearcher.prepare_photo`, or None.
        like, unlike: rows of the snapshot; each counts once.
        weights: how much each part counts.
        little_ink: whether the sketch is a dot or a straight line, which tells hardly anything.
        sketch_name, photo_name: from `name_of`, by which their encodings may be remembered; None encodes them anew.
    """

    sketch: Tensor | None = None
    text: Vector | None = None
    photo: Tensor | None = None
    like: Sequence[int] = ()
    unlike: Sequence[int] = ()
    weights: PartWeights = field(default_factory=PartWeights)
    little_ink: bool = False
    sketch_name: bytes | None = None
    photo_name: bytes | None = None

    def __post_init__(self) -> None:
        if not self.used.keys() - {"unlike"}:
            raise ValueError("a query needs a sketch, words, a photo or a liked photo, with a weight above 0")

    @property
    def used(self) -> dict[PartName, float]:
        """The parts that count, with their weights."""
        given: dict[PartName, Any] = {name: getattr(self, name) for name in PART_NAMES}
        there = [name for name, value in given.items() if value is not None and len(value)]
        return {name: self.weights.of(name) for name in there if self.weights.of(name) > 0}

    @property
    def sketch_picture(self) -> Picture | None:
        """The sketch, if it counts."""
        return Picture(self.sketch, self.sketch_name) if self.sketch is not None and "sketch" in self.used else None

    @property
    def photo_picture(self) -> Picture | None:
        """The photo, if it counts."""
        return Picture(self.photo, self.photo_name) if self.photo is not None and "photo" in self.used else None

    @property
    def kind(self) -> QueryKind:
        """Which of the checkpoint's rules is meant for it."""
        if "sketch" in self.used:
            return "sketch_and_more" if self.used.keys() - {"sketch", "unlike"} else "sketch"
        return "text" if "text" in self.used else "photo"

    @property
    def liked(self) -> list[int]:
        """Rows that are liked, if that counts, in order."""
        return sorted(set(self.like)) if "like" in self.used else []

    @property
    def unliked(self) -> list[int]:
        """Rows that are not liked, if that counts, in order."""
        return sorted(set(self.unlike)) if "unlike" in self.used else []
