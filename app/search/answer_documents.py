"""From what a search found to the documents that the service and the command line answer with."""

from __future__ import annotations

from app.search.query_and_answer import Answer, Found
from index_builder import GallerySnapshot, PhotoRecord
from sketchseek_client import Duplicate, Result, SearchAnswer, Timings


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
    return SearchAnswer(
        results=[result_of(one, root_path) for one in found.results],
        timings_ms=Timings(**{stage: round(ms, 2) for stage, ms in timings_ms.items()}),
        gallery_version=snapshot.version,
        checkpoint=snapshot.checkpoint,
        reranked=found.reranked,
        parts={str(name): weight for name, weight in found.parts.items()},
        little_ink=found.little_ink,
        total_photos=found.searched,
        as_of=None if snapshot.as_of is None else snapshot.as_of.isoformat(),
    )


def result_of(found: Found, root_path: str | None) -> Result:
    """One photo of the answer; `root_path` as in `search_answer`."""
    photo, duplicates = found.photo, found.duplicates
    url = _url(photo, root_path)
    return Result(
        rank=found.rank,
        photo_id=photo.photo_id,
        score=_rounded(found.score),
        likely=found.likely,
        relation_score=None if found.relation_score is None else _rounded(found.relation_score),
        recall_score=_rounded(found.recall_score),
        recall_rank=found.recall_rank,
        url=url,
        thumbnail_url=_thumbnail(url),
        path=photo.path,
        tags=list(photo.tags),
        width=photo.width,
        height=photo.height,
        taken=photo.taken.isoformat(timespec="seconds"),
        count=None if duplicates is None else 1 + len(duplicates),
        duplicates=None if duplicates is None else [_duplicate(one, root_path) for one in duplicates],
        contributions={name: _rounded(share) for name, share in found.contributions.items()},
    )


def _duplicate(photo: PhotoRecord, root_path: str | None) -> Duplicate:
    url = _url(photo, root_path)
    return Duplicate(photo_id=photo.photo_id, path=photo.path, url=url, thumbnail_url=_thumbnail(url))


def _url(photo: PhotoRecord, root_path: str | None) -> str | None:
    return None if root_path is None else f"{root_path}/photos/{photo.photo_id}"


def _thumbnail(url: str | None) -> str | None:
    return None if url is None else url + "/thumbnail"


def _rounded(score: float) -> float:
    """Nine digits: further ones are noise and make answers larger."""
    return round(score, 9)
