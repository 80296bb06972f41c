"""From what a search found to the documents that the service and the command line answer with."""

from __future__ import annotations

from typing import Any

from app.search.query_and_answer import Answer, Found
from index_builder import GallerySnapshot, PhotoRecord
from sketchseek_client import Result, SearchAnswer

_DIGITS = 9
"""Further ones are noise and make answers larger."""


def search_answer(
    found: Answer, snapshot: GallerySnapshot, *, timings_ms: dict[str, float], root_path: str | None
) -> SearchAnswer:
    """The answer to a search.

    Args:
        found: what the searcher found.
        snapshot: the version it searched.
        timings_ms: milliseconds of each stage, named as in `Timings`.
        root_path: what the service's addresses start with; None where no service runs.
    """
    # Plain values, checked in one go: one document after the other takes several times as long.
    return SearchAnswer.model_validate(
        {
            "results": [_result(one, root_path) for one in found.results],
            "timings_ms": {stage: round(ms, 2) for stage, ms in timings_ms.items()},
            "gallery_version": snapshot.version,
            "checkpoint": snapshot.checkpoint,
            "reranked": found.reranked,
            "parts": dict(found.parts),
            "little_ink": found.little_ink,
            "total_photos": found.searched,
            "as_of": None if snapshot.as_of is None else snapshot.as_of.isoformat(),
        }
    )


def result_of(found: Found, root_path: str | None) -> Result:
    """One photo of the answer; `root_path` as in `search_answer`."""
    return Result.model_validate(_result(found, root_path))


def _result(found: Found, root_path: str | None) -> dict[str, Any]:
    photo, duplicates, relation = found.photo, found.duplicates, found.relation_score
    url = _url(photo, root_path)
    return {
        "rank": found.rank,
        "photo_id": photo.photo_id,
        "score": round(found.score, _DIGITS),
        "likely": found.likely,
        "relation_score": None if relation is None else round(relation, _DIGITS),
        "recall_score": round(found.recall_score, _DIGITS),
        "recall_rank": found.recall_rank,
        "url": url,
        "thumbnail_url": _thumbnail(url),
        "path": photo.path,
        "tags": list(photo.tags),
        "width": photo.width,
        "height": photo.height,
        "taken": photo.taken.isoformat(timespec="seconds"),
        "count": None if duplicates is None else 1 + len(duplicates),
        "duplicates": None if duplicates is None else [_duplicate(one, root_path) for one in duplicates],
        "contributions": {name: round(share, _DIGITS) for name, share in found.contributions.items()},
    }


def _duplicate(photo: PhotoRecord, root_path: str | None) -> dict[str, Any]:
    url = _url(photo, root_path)
    return {"photo_id": photo.photo_id, "path": photo.path, "url": url, "thumbnail_url": _thumbnail(url)}


def _url(photo: PhotoRecord, root_path: str | None) -> str | None:
    return None if root_path is None else f"{root_path}/photos/{photo.photo_id}"


def _thumbnail(url: str | None) -> str | None:
    return None if url is None else url + "/thumbnail"
