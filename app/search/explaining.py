"""Explaining matches, free of HTTP: the same functions serve both routes that explain and `sketchseek explain`."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from app.search.query_and_answer import Answer
from app.search.query_parts import Picture, name_of
from app.search.searcher import TwoStageSearcher
from app.search.stopwatch import Stopwatch
from model.explain import (
    NotExplainableError,
    PairExplanation,
    Source,
    attention_picture,
    explain_pairs,
    overlay,
    photo_patch_box,
    sketch_patch_box,
    synthesise,
)
from model.images.preprocess import sketch_image, to_tensor
from model.types import Encoding

PictureKind = Literal["overlay", "synthesis", "attention"]

PHOTO_SIDE = 960  # pixels of a photo's longer side in a picture


@dataclass(frozen=True)
class Explained:
    """One sketch and one or more photos of a gallery, explained.

    Attributes:
        sketch: as the network sees it.
        pairs: one per photo, in the order asked for.
        recall_scores: cosines of the descriptors, in the same order.
        stages_ms: milliseconds of `encode` and `relate`.
    """

    sketch: Image.Image
    pairs: list[PairExplanation]
    recall_scores: list[float]
    stages_ms: dict[str, float] = field(default_factory=dict)


def explain_rows(searcher: TwoStageSearcher, sketch: Image.Image, rows: Sequence[int]) -> Explained:
    """Encode a prepared sketch and explain its match with the photos of some rows. Uses the device.

    Args:
        searcher: network and gallery.
        sketch: RGB, S x S, from `prepare_sketch`.
        rows: of the searcher's snapshot, at least one.

    Raises:
        NotExplainableError: the network shows no matches.
    """
    clock = Stopwatch()
    tensor = to_tensor(sketch, searcher.network.preprocess)
    (encoding,) = searcher.remembered_sketches([Picture(tensor, name_of(sketch, "sketch"))])
    assert encoding is not None  # noqa: S101  (None only where there is no sketch)
    clock.lap("encode")
    pairs, descriptors = _related(searcher, tensor, encoding, rows)
    cosines = descriptors.float() @ encoding.descriptor.float().T.to(descriptors.device)
    recall_scores = [float(value) for value in cosines[:, 0]]
    clock.lap("relate")
    return Explained(sketch, pairs, recall_scores, clock.laps_ms)


def explain_found(
    searcher: TwoStageSearcher, sketch: torch.Tensor, answer: Answer, part: slice
) -> list[PairExplanation]:
    """Explain some results of a search from the encoding that searched. Uses the device.

    Args:
        searcher: that gave the answer.
        sketch: [3, S, S] float32 from `TwoStageSearcher.prepare`.
        answer: to that sketch.
        part: which of its results, in one pass.

    Returns:
        One explanation per result.

    Raises:
        NotExplainableError: the network shows no matches.
    """
    if answer.sketch is None:
        raise ValueError("only results of a sketch can be explained")
    pairs, _ = _related(searcher, sketch, answer.sketch, [one.row for one in answer.results[part]])
    return pairs


def _related(
    searcher: TwoStageSearcher, sketch: torch.Tensor, encoding: Encoding, rows: Sequence[int]
) -> tuple[list[PairExplanation], torch.Tensor]:
    """Why each of the photos matches, and their descriptors [P, E]."""
    every = np.asarray(rows, dtype=np.int64)

    def explained(part: slice) -> tuple[list[PairExplanation], torch.Tensor]:
        photos = searcher.reranking.tokens(every[part])
        with torch.inference_mode():
            return explain_pairs(searcher.network, sketch, encoding, photos), photos.descriptor

    parts = searcher.explained.each(explained, len(every))
    return [pair for pairs, _ in parts for pair in pairs], torch.cat([descriptors for _, descriptors in parts])


def prepare_sketch(searcher: TwoStageSearcher, image: Image.Image) -> Image.Image:
    """The sketch as the network sees it, RGB [S, S].

    Raises:
        BlankSketchError: nothing is drawn.
    """
    return sketch_image(image, searcher.network.preprocess)


def draw(
    kind: PictureKind, searcher: TwoStageSearcher, explained: Explained, photos: Sequence[Image.Image]
) -> Image.Image:
    """A picture of the first pair. A synthesis takes pieces from all pairs.

    Args:
        kind: "overlay", "attention" or "synthesis".
        searcher: that explained the pairs.
        explained: the pairs.
        photos: RGB, upright, one per pair.

    Raises:
        NotExplainableError: the picture shows matches, and the network matches no patches.
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
    alone = network.score(torch.tensor([pair.logit]).double(), torch.tensor([cosine]).double())  # beside what is usual
    return {
        "photo_id": photo_id,
        "score": float(alone),
        "relation_score": pair.score,
        "relation_logit": pair.logit,
        "recall_score": cosine,
        "grid": pair.grid,
        "matches": pair.matches,
        "sketch_image": "data:image/png;base64," + base64.b64encode(as_png(explained.sketch)).decode(),
        "correspondences": correspondence_documents(searcher, pair, width, height),
        "checkpoint": searcher.snapshot.checkpoint,
        "gallery_version": searcher.snapshot.version,
        "timings_ms": {stage: round(ms, 2) for stage, ms in explained.stages_ms.items()},
    }


def correspondence_documents(
    searcher: TwoStageSearcher, pair: PairExplanation, width: int, height: int
) -> list[dict[str, Any]]:
    """The matches of a pair as plain values for JSON: see `sketchseek_client.CorrespondenceDocument`.

    Args:
        searcher: that explained it.
        pair: the explanation.
        width, height: of the photo, upright.
    """
    config = searcher.network.preprocess
    return [
        {
            "sketch_patch": one.sketch_patch,
            "photo_patch": one.photo_patch,
            "sketch_box": _rounded(sketch_patch_box(one.sketch_patch, pair.grid)),
            "photo_box": _rounded(photo_patch_box(one.photo_patch, pair.grid, config, width=width, height=height)),
            "weight": round(one.weight, 6),
            "mutual": one.mutual,
            "contribution": round(one.contribution, 6),
            "clear": one.clear,
        }
        for one in pair.correspondences
    ]


def as_png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def picture_kind(name: str) -> PictureKind:
    """`name`, which is one of the kinds, with its type."""
    return cast(PictureKind, name)


def _rounded(box: tuple[float, float, float, float]) -> list[float]:
    return [round(value, 5) for value in box]
