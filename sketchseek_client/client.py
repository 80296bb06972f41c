"""The client: one method per route, typed results, errors that say what the service said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2

from sketchseek_client.errors import ServiceAnswerError, ServiceUnreachableError
from sketchseek_client.facet_documents import GalleryFacets
from sketchseek_client.search_documents import Explanation, SearchAnswer, SimilarAnswer
from sketchseek_client.service_documents import GalleryInfo, Health, Job, Reloaded

Sketch = str | Path | bytes
Strokes = Sequence[Sequence[Sequence[float]]]
Day = str | date
Orientation = Literal["landscape", "portrait", "square"]
Picture = Literal["overlay", "synthesis", "attention"]
Rendition = Literal["original", "screen"]


class Client:
    """Talks to one service. It keeps its connections, so use one client for many calls, and close it or use `with`.

    Args:
        base_url: such as "http://127.0.0.1:8000".
        key: the read key, or the write key for changes; None if the service asks for none.
        timeout_s: seconds to wait for an answer.
        transport: how to reach the service; for tests.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(
        self,
        sketch: Sketch | None = None,
        *,
        strokes: Strokes | None = None,
        top_k: int = 20,
        candidates: int | None = None,
        rerank: bool = True,
        expand: bool = True,
        explain: bool = False,
        offset: int = 0,
        min_score: float | None = None,
        tags: Sequence[str] = (),
    ) -> SearchAnswer:
        """Find photos by a sketch.

        Args:
            sketch: path or bytes of a picture; or give `strokes`.
            strokes: per stroke [[x...], [y...]].
            top_k, candidates, rerank, expand, explain, offset, min_score, tags: as in docs/api.md.

        Raises:
            ServiceAnswerError, ServiceUnreachableError: see there.
            ValueError: neither `sketch` nor `strokes`, or both.
        """
        options: dict[str, Any] = {
            "top_k": top_k,
            "rerank": rerank,
            "expand": expand,
            "explain": explain,
            "offset": offset,
        }
        if candidates is not None:
            options["candidates"] = candidates
        if min_score is not None:
            options["min_score"] = min_score
        if tags:
            options["tag"] = list(tags)
        answer = self._send_sketch("/search", sketch, strokes, options)
        return SearchAnswer.model_validate_json(answer.content)

    def explain(self, sketch: Sketch | None, photo_id: str, *, strokes: Strokes | None = None) -> Explanation:
        """Which patches of a sketch matched which of a photo. With `strokes`, `sketch` is None. Raises as `search`."""
        answer = self._send_sketch("/explain", sketch, strokes, {"photo_id": photo_id, "format": "json"})
        return Explanation.model_validate_json(answer.content)

    def explain_picture(
        self,
        sketch: Sketch | None,
        photo_id: str,
        kind: Picture = "overlay",
        *,
        strokes: Strokes | None = None,
        among: Sequence[str] = (),
    ) -> bytes:
        """The same as a picture, in PNG. Raises as `search`.

        Args:
            sketch, photo_id, strokes: as in `explain`.
            kind: which picture, as `format` in docs/explanations.md.
            among: ids of further photos that a synthesis may take pieces from.
        """
        options: dict[str, Any] = {"photo_id": photo_id, "format": kind}
        if among:
            options["among"] = list(among)
        return self._send_sketch("/explain", sketch, strokes, options).content

    def similar(self, photo_id: str, top_k: int = 20) -> SimilarAnswer:
        """Photos like a photo. Raises as `search`."""
        answer = self._send("GET", f"/photos/{photo_id}/similar", params={"top_k": top_k})
        return SimilarAnswer.model_validate_json(answer.content)

    def photo(self, photo_id: str, rendition: Rendition = "original") -> bytes:
        """A photo's file; with `rendition="screen"` a WebP that every browser shows. Raises as `search`."""
        params = {} if rendition == "original" else {"rendition": rendition}  # so that older services answer as well
        return self._send("GET", f"/photos/{photo_id}", params=params).content

    def thumbnail(self, photo_id: str) -> bytes:
        """A small version of a photo, as WebP. Raises as `search`."""
        return self._send("GET", f"/photos/{photo_id}/thumbnail").content

    def add(self, photos: Sequence[str | Path]) -> Job:
        """Add photos. If that takes a while, the job still runs; `job` says how far it is. Raises as `search`."""
        with ExitStack() as stack:
            files = [("photo", (Path(path).name, stack.enter_context(Path(path).open("rb")))) for path in photos]
            return Job.model_validate_json(self._send("POST", "/photos", files=files).content)

    def delete(self, photo_id: str) -> Job | None:
        """Delete a photo. Returns None once it is done, or the job if that takes a while. Raises as `search`."""
        answer = self._send("DELETE", f"/photos/{photo_id}")
        return Job.model_validate_json(answer.content) if answer.content else None

    def job(self, job_id: str) -> Job:
        """How far a change is. Raises as `search`."""
        return Job.model_validate_json(self._send("GET", f"/jobs/{job_id}").content)

    def gallery(self) -> GalleryInfo:
        """What is being served. Raises as `search`."""
        return GalleryInfo.model_validate_json(self._send("GET", "/gallery").content)

    def facets(
        self,
        *,
        tags: Sequence[str] = (),
        tag_all: Sequence[str] = (),
        tag_none: Sequence[str] = (),
        taken_from: Day | None = None,
        taken_to: Day | None = None,
        orientation: Orientation | None = None,
        folder: str = "",
        types: Sequence[str] = (),
        as_of: str | None = None,
    ) -> GalleryFacets:
        """How many photos each further filter would leave, among those that pass these. Raises as `search`.

        Args:
            tags, tag_all, tag_none, taken_from, taken_to, orientation, folder, types, as_of: as in docs/api.md.
        """
        asked = _set(
            tag=tags,
            tag_all=tag_all,
            tag_none=tag_none,
            taken_from=taken_from,
            taken_to=taken_to,
            orientation=orientation,
            folder=folder,
            type=types,
            as_of=as_of,
        )
        return GalleryFacets.model_validate_json(self._send("GET", "/gallery/facets", params=asked).content)

    def reload(self) -> Reloaded:
        """Serve the latest version now. Raises as `search`."""
        return Reloaded.model_validate_json(self._send("POST", "/gallery/reload").content)

    def accept_loss(self) -> Job:
        """Drop every photo whose file is not found now, `held` or not. The job may still run. Raises as `search`."""
        return Job.model_validate_json(self._send("POST", "/gallery/accept-loss").content)

    def ready(self) -> Health:
        """Whether the service is ready. That it is not is no error.

        Raises:
            ServiceUnreachableError: nothing answers there.
        """
        return Health.model_validate_json(self._raw("GET", "/readyz").content)

    def _send_sketch(
        self, path: str, sketch: Sketch | None, strokes: Strokes | None, options: dict[str, Any]
    ) -> httpx2.Response:
        """Post strokes as JSON, or a picture as a form."""
        if (sketch is None) == (strokes is None):
            raise ValueError("give either `sketch` or `strokes`")
        if sketch is None:
            return self._send("POST", path, json={"strokes": strokes, **options})
        form = {name: _as_text(value) for name, value in options.items()}
        return self._send("POST", path, files={"sketch": ("sketch", _content(sketch))}, data=form)

    def _send(self, method: str, path: str, **parts: Any) -> httpx2.Response:
        answer = self._raw(method, path, **parts)
        if answer.is_error:
            raise ServiceAnswerError(answer)
        return answer

    def _raw(self, method: str, path: str, **parts: Any) -> httpx2.Response:
        try:
            return self._http.request(method, path, **parts)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError(
                f"no service answers at {self._http.base_url} ({type(error).__name__}); "
                "start one with `sketchseek serve`"
            ) from error


def _content(sketch: Sketch) -> bytes:
    return sketch if isinstance(sketch, bytes) else Path(sketch).read_bytes()


def _set(**filters: Sequence[str] | date | str | None) -> dict[str, Any]:
    """The filters that ask for something, as JSON writes them."""
    plain = {name: value.isoformat() if isinstance(value, date) else value for name, value in filters.items()}
    return {name: value if isinstance(value, str) else list(value) for name, value in plain.items() if value}


def _as_text(value: Any) -> Any:
    """A form's way to write a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)
