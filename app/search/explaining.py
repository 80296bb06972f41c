"""Explaining matches, free of HTTP: the same functions serve POST /explain and `sketchseek explain`."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from app.search.searcher import TwoStageSearcher
from model.explain import (
    NotExplainableError,
    PairExplanation,
    Source,
    attention_picture,
    explain_pair,
    overlay,
    photo_patch_box,
    sketch_patch_box,
    synthesise,
)
from model.images.preprocess import sketch_image, to_tensor

PictureKind = Literal["overlay", "synthesis", "attention"]

PHOTO_SIDE = 960  # pixels of the longer side that a picture needs of a photo


@dataclass(frozen=True)
class Explained:
    """One sketch and one or more photos of a gallery, explained.

    Attributes:
        sketch: as the network sees it.
        pairs: one per photo asked for, in that order.
        recall_scores: cosines of the descriptors, in that order.
        stages_ms: milliseconds of `encode` and `relate`.
    """

    sketch: Image.Image
    pairs: list[PairExplanation]
    recall_scores: list[float]
    stages_ms: dict[str, float] = field(default_factory=dict)


def explain_rows(searcher: TwoStageSearcher, sketch: Image.Image, rows: Sequence[int]) -> Explained:
    """Encode a prepared sketch and explain its match with the photos of some rows; runs where the device may be used.

    Args:
        searcher: network and gallery.
        sketch: RGB, S x S, from `prepare_sketch`.
        rows: of the searcher's snapshot, at least one.

    Raises:
        NotExplainableError: the network shows no matches.
    """
    network = searcher.network
    tensor = to_tensor(sketch, network.preprocess)
    started = time.perf_counter()
    with torch.inference_mode():
        encoding = network.encode_sketch(tensor[None].to(network.device))
        encoded = time.perf_counter()
        photos = searcher.snapshot.encodings(np.asarray(rows, dtype=np.int64))
        pairs = [explain_pair(network, tensor, encoding, photos[n : n + 1]) for n in range(len(rows))]
        cosines = (photos.descriptor.float() @ encoding.descriptor.float().T.to(photos.descriptor.device))[:, 0]
    stages = {"encode": (encoded - started) * 1000, "relate": (time.perf_counter() - encoded) * 1000}
    return Explained(sketch, pairs, [float(value) for value in cosines], stages)


def prepare_sketch(searcher: TwoStageSearcher, image: Image.Image) -> Image.Image:
    """The sketch as the network sees it, RGB [S, S].

    Raises:
        BlankSketchError: nothing is drawn.
    """
    return sketch_image(image, searcher.network.preprocess)


def draw(
    kind: PictureKind, searcher: TwoStageSearcher, explained: Explained, photos: Sequence[Image.Image]
) -> Image.Image:
    """A picture of the first pair; a synthesis takes pieces from all pairs.

    Args:
        kind: "overlay", "attention" or "synthesis".
        searcher: that explained them.
        explained: the pairs.
        photos: RGB, upright, one per pair.

    Raises:
        NotExplainableError: the network matches no patches, and the picture would show matches.
    """
    if kind != "attention" and not explained.pairs[0].matches:
        raise NotExplainableError(
            "this checkpoint's network weighs the photo's patches without matching them to the sketch's; "
            "ask for the picture 'attention'"
        )
    first, photo = explained.pairs[0], photos[0]
    box = partial(
        photo_patch_box,
        grid=first.grid,
        config=searcher.network.preprocess,
        width=photo.width,
        height=photo.height,
    )
    if kind == "overlay":
        return overlay(explained.sketch, photo, first.correspondences, first.grid, box)
    if kind == "attention":
        return attention_picture(photo, first, box)
    sources = [Source(one, pair.maps) for one, pair in zip(photos, explained.pairs, strict=True)]
    return synthesise(first.ink, sources, first.grid)


def as_document(
    searcher: TwoStageSearcher, explained: Explained, photo_id: str, width: int, height: int
) -> dict[str, Any]:
    """The first pair as plain values for JSON: see `sketchseek_client.Explanation`."""
    pair, network = explained.pairs[0], searcher.network
    cosine = explained.recall_scores[0]
    score = network.score(torch.tensor(pair.logit).double(), torch.tensor(cosine).double())
    return {
        "photo_id": photo_id,
        "score": float(score),
        "relation_score": pair.score,
        "relation_logit": pair.logit,
        "recall_score": cosine,
        "grid": pair.grid,
        "matches": pair.matches,
        "sketch_image": "data:image/png;base64," + base64.b64encode(as_png(explained.sketch)).decode(),
        "correspondences": [
            {
                "sketch_patch": one.sketch_patch,
                "photo_patch": one.photo_patch,
                "sketch_box": _rounded(sketch_patch_box(one.sketch_patch, pair.grid)),
                "photo_box": _rounded(
                    photo_patch_box(one.photo_patch, pair.grid, network.preprocess, width=width, height=height)
                ),
                "weight": round(one.weight, 6),
                "mutual": one.mutual,
                "contribution": round(one.contribution, 6),
            }
            for one in pair.correspondences
        ],
        "checkpoint": searcher.snapshot.checkpoint,
        "gallery_version": searcher.snapshot.version,
        "timings_ms": {stage: round(ms, 2) for stage, ms in explained.stages_ms.items()},
    }


def as_png(image: Image.Image) -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def picture_kind(name: str) -> PictureKind:
    """`name`, which is one of the kinds, as such."""
    return cast(PictureKind, name)


def _rounded(box: tuple[float, float, float, float]) -> list[float]:
    return [round(value, 5) for value in box]
