"""The client: one method per route, typed results, errors that say what the service said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx2

from sketchseek_client import calls
from sketchseek_client.batch_documents import BatchAnswer
from sketchseek_client.calls import Call, Document, DocumentCall, Drawn, Rendition
from sketchseek_client.deleted import Deleted
from sketchseek_client.downloads import download
from sketchseek_client.errors import ServiceAnswerError, ServiceUnreachableError
from sketchseek_client.facet_documents import GalleryFacets
from sketchseek_client.search_arguments import BatchQuery, FilterArguments, Picture, SearchArguments, Strokes
from sketchseek_client.search_documents import Explanation, SearchAnswer, SimilarAnswer
from sketchseek_client.service_documents import GalleryEvent, GalleryInfo, Health, Job, Reloaded


class Client:
    """Talks to one service. It keeps its connections, so use one client for many calls, and close it or use `with`.

    Args:
        base_url: such as "http://127.0.0.1:8000".
        key: the read key, or the write key for changes; None if the service asks for none.
        timeout_s: seconds to wait for an answer; `events` waits for at least 45, since the service may be silent.
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

    def search(self, sketch: Picture | None = None, **arguments: Unpack[SearchArguments]) -> SearchAnswer:
        """Find photos by a sketch, by words, by a photo, by photos that are liked, or by several of these.

        Args:
            sketch: path or bytes of a picture of a sketch; or give `strokes`: per stroke [[x...], [y...]].
            arguments: `text`, `photo` (path or bytes), `like` and `unlike` (photo ids), `top_k` and more: see
                `SearchArguments`.

        Raises:
            ServiceAnswerError, ServiceUnreachableError: see there.
            ValueError: nothing to search for, or `sketch` and `strokes`.
        """
        return self._document(calls.search(sketch, **arguments))

    def search_batch(self, queries: Sequence[BatchQuery]) -> BatchAnswer:
        """Up to 64 searches at once; each is answered, or refused, as if it had come alone. Raises as `search`.

        Args:
            queries: each a dictionary of what `search` takes, such as {"sketch": "cat.png", "top_k": 5}.
        """
        return self._document(calls.search_batch(queries))

    def explain(
        self,
        sketch: Picture | None,
        photo_id: str,
        *,
        strokes: Strokes | None = None,
        min_version: str | None = None,
    ) -> Explanation:
        """Which patches of a sketch matched which of a photo. With `strokes`, `sketch` is None. Raises as `search`."""
        return self._document(calls.explain(sketch, photo_id, strokes, min_version))

    def explain_picture(
        self,
        sketch: Picture | None,
        photo_id: str,
        kind: Drawn = "overlay",
        *,
        strokes: Strokes | None = None,
        among: Sequence[str] = (),
        min_version: str | None = None,
    ) -> bytes:
        """The same as a picture, in PNG. Raises as `search`.

        Args:
            sketch, photo_id, strokes: as in `explain`.
            kind: which picture, as `format` in docs/explanations.md.
            among: ids of further photos that a synthesis may take pieces from.
            min_version: as in `search`.
        """
        return self._bytes(
            calls.explain_picture(sketch, photo_id, kind, strokes=strokes, among=among, min_version=min_version)
        )

    def similar(self, photo_id: str, top_k: int = 20) -> SimilarAnswer:
        """Photos like a photo. Raises as `search`."""
        return self._document(calls.similar(photo_id, top_k))

    def photo(self, photo_id: str, rendition: Rendition = "original") -> bytes:
        """A photo's file; with `rendition="screen"` a WebP that every browser shows. Raises as `search`."""
        return self._bytes(calls.photo(photo_id, rendition))

    def thumbnail(self, photo_id: str) -> bytes:
        """A small version of a photo, as WebP. Raises as `search`."""
        return self._bytes(calls.thumbnail(photo_id))

    def archive(self, photo_ids: Sequence[str], path: str | Path) -> None:
        """Download several photos as one ZIP archive. It appears at `path` whole or not at all. Raises as `search`.

        Args:
            photo_ids: of the photos. Those whose files are gone are named in `left-out.txt` inside the archive.
            path: of the new file, which takes the place of an old one.
        """
        with self._streamed(calls.archive(photo_ids)) as answer, download(path) as file:
            for piece in answer.iter_bytes():
                file.write(piece)

    def add(self, photos: Sequence[str | Path]) -> Job:
        """Add photos. If that takes a while, the job still runs; `job` says how far it is. Raises as `search`."""
        with calls.adding(photos) as call:
            return self._document(call)

    def delete(self, photo_id: str) -> Deleted:
        """Delete a photo: the version that lacks it, or the job if that takes a while. Raises as `search`."""
        return Deleted.of(self._good_answer(calls.delete(photo_id)))

    def job(self, job_id: str) -> Job:
        """How far a change is. Raises as `search`."""
        return self._document(calls.job(job_id))

    def gallery(self) -> GalleryInfo:
        """What is being served. Raises as `search`."""
        return self._document(calls.GALLERY)

    def events(self) -> Iterator[GalleryEvent]:
        """How the gallery stands, now and after each change, until the service ends. Raises as `search`."""
        with self._streamed(calls.events(self._http.timeout)) as answer:
            for line in answer.iter_lines():
                if (event := calls.event_of(line)) is not None:
                    yield event

    def facets(self, **filters: Unpack[FilterArguments]) -> GalleryFacets:
        """How many photos each further filter would leave, among those that pass these. Raises as `search`."""
        return self._document(calls.facets(**filters))

    def reload(self) -> Reloaded:
        """Serve the latest version now. Raises as `search`."""
        return self._document(calls.RELOAD)

    def accept_loss(self) -> Job:
        """Drop every photo whose file is not found now, `held` or not. The job may still run. Raises as `search`."""
        return self._document(calls.ACCEPT_LOSS)

    def ready(self) -> Health:
        """Whether the service is ready. That it is not is no error.

        Raises:
            ServiceUnreachableError: nothing answers there.
        """
        return Health.model_validate_json(self._answer(calls.READY).content)

    def _document(self, call: DocumentCall[Document]) -> Document:
        return call.document.model_validate_json(self._bytes(call))

    def _bytes(self, call: Call) -> bytes:
        return self._good_answer(call).content

    def _good_answer(self, call: Call) -> httpx2.Response:
        answer = self._answer(call)
        if answer.is_error:
            raise ServiceAnswerError(answer)
        return answer

    @contextmanager
    def _streamed(self, call: Call) -> Iterator[httpx2.Response]:
        """The answer, to be read piece by piece inside the block."""
        try:
            with self._http.stream(call.method, call.path, **call.parts) as answer:
                if answer.is_error:
                    answer.read()
                    raise ServiceAnswerError(answer)
                yield answer
        except httpx2.TransportError as error:
            raise ServiceUnreachableError.at(self._http.base_url, error) from error

    def _answer(self, call: Call) -> httpx2.Response:
        try:
            return self._http.request(call.method, call.path, **call.parts)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError.at(self._http.base_url, error) from error
