"""The calls of the service, one function per route: what is sent, and what the answer is. Both clients send these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Unpack

import httpx2
from pydantic import BaseModel

from sketchseek_client.batch_documents import BatchAnswer
from sketchseek_client.facet_documents import GalleryFacets
from sketchseek_client.search_arguments import (
    BatchQuery,
    FilterArguments,
    Picture,
    SearchArguments,
    Strokes,
    batch_body,
    fields_of,
    picture_body,
    search_body,
)
from sketchseek_client.search_documents import Explanation, SearchAnswer, SimilarAnswer
from sketchseek_client.service_documents import GalleryEvent, GalleryInfo, Health, Job, Reloaded

Drawn = Literal["overlay", "synthesis", "attention"]
Rendition = Literal["original", "screen"]
Document = TypeVar("Document", bound=BaseModel)
_SILENCE_S = 45.0  # without a change the service sends a sign of life every 15 seconds; two may be late


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        method: of HTTP.
        path: of the address.
        parts: query parameters, files, form, JSON or time limits, under httpx's names.
    """

    method: str
    path: str
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DocumentCall(Call, Generic[Document]):
    """A request that is answered with a document.

    Attributes:
        document: its type.
    """

    document: type[Document] = field(kw_only=True)


def search(sketch: Picture | None, **arguments: Unpack[SearchArguments]) -> DocumentCall[SearchAnswer]:
    """`POST /search`."""
    return DocumentCall("POST", "/search", search_body(sketch, arguments), document=SearchAnswer)


def search_batch(queries: Sequence[BatchQuery]) -> DocumentCall[BatchAnswer]:
    """`POST /search/batch`."""
    return DocumentCall("POST", "/search/batch", batch_body(queries), document=BatchAnswer)


def explain(
    sketch: Picture | None, photo_id: str, strokes: Strokes | None, min_version: str | None
) -> DocumentCall[Explanation]:
    """`POST /explain`, as JSON."""
    body = _explain_body(sketch, strokes, photo_id=photo_id, format="json", min_version=min_version)
    return DocumentCall("POST", "/explain", body, document=Explanation)


def explain_picture(
    sketch: Picture | None,
    photo_id: str,
    kind: Drawn,
    *,
    strokes: Strokes | None,
    among: Sequence[str],
    min_version: str | None,
) -> Call:
    """`POST /explain`, as a picture."""
    more = {"among": list(among) or None, "min_version": min_version}
    return Call("POST", "/explain", _explain_body(sketch, strokes, photo_id=photo_id, format=kind, **more))


def similar(photo_id: str, top_k: int) -> DocumentCall[SimilarAnswer]:
    """`GET /photos/{photo_id}/similar`."""
    return DocumentCall("GET", f"/photos/{photo_id}/similar", {"params": {"top_k": top_k}}, document=SimilarAnswer)


def photo(photo_id: str, rendition: Rendition) -> Call:
    """`GET /photos/{photo_id}`."""
    params = {} if rendition == "original" else {"rendition": rendition}  # so that older services answer as well
    return Call("GET", f"/photos/{photo_id}", {"params": params, "follow_redirects": True})  # into a bucket


def thumbnail(photo_id: str) -> Call:
    """`GET /photos/{photo_id}/thumbnail`."""
    return Call("GET", f"/photos/{photo_id}/thumbnail")


def archive(photo_ids: Sequence[str]) -> Call:
    """`POST /archive`."""
    return Call("POST", "/archive", {"json": {"photos": list(photo_ids)}})


@contextmanager
def adding(photos: Sequence[str | Path]) -> Iterator[DocumentCall[Job]]:
    """`POST /photos`. The files are open inside the block, so that they are sent piece by piece."""
    with ExitStack() as stack:
        files = [("photo", (Path(path).name, stack.enter_context(Path(path).open("rb")))) for path in photos]
        yield DocumentCall("POST", "/photos", {"files": files}, document=Job)


def delete(photo_id: str) -> Call:
    """`DELETE /photos/{photo_id}`."""
    return Call("DELETE", f"/photos/{photo_id}")


def job(job_id: str) -> DocumentCall[Job]:
    """`GET /jobs/{job_id}`."""
    return DocumentCall("GET", f"/jobs/{job_id}", document=Job)


def facets(**filters: Unpack[FilterArguments]) -> DocumentCall[GalleryFacets]:
    """`GET /gallery/facets`."""
    return DocumentCall("GET", "/gallery/facets", {"params": fields_of(filters)}, document=GalleryFacets)


def events(usual: httpx2.Timeout) -> Call:
    """`GET /gallery/events`. The service may be silent for longer than it may take to answer another call.

    Args:
        usual: time limits of other calls.
    """
    limits = usual.as_dict()
    if limits["read"] is not None:
        limits["read"] = max(limits["read"], _SILENCE_S)
    return Call("GET", "/gallery/events", {"timeout": httpx2.Timeout(**limits)})


def event_of(line: str) -> GalleryEvent | None:
    """The event in a line of the answer to `events`; None in those that only keep the connection open."""
    field, _, data = line.partition(":")
    return GalleryEvent.model_validate_json(data) if field == "data" else None


GALLERY = DocumentCall("GET", "/gallery", document=GalleryInfo)
RELOAD = DocumentCall("POST", "/gallery/reload", document=Reloaded)
ACCEPT_LOSS = DocumentCall("POST", "/gallery/accept-loss", document=Job)
READY = DocumentCall("GET", "/readyz", document=Health)


def _explain_body(sketch: Picture | None, strokes: Strokes | None, **options: Any) -> dict[str, Any]:
    if sketch is None and strokes is None:
        raise ValueError("give `sketch` or `strokes`")
    return picture_body(sketch, strokes, {name: value for name, value in options.items() if value is not None})
