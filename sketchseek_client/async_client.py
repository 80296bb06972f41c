"""The asynchronous client: the same methods as the other, each to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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


class AsyncClient:
    """Talks to one service, from one event loop. Close it or use `async with`.

    Arguments, methods and errors are those of `sketchseek_client.Client`.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def search(self, sketch: Picture | None = None, **arguments: Unpack[SearchArguments]) -> SearchAnswer:
        """As `Client.search`."""
        return await self._document(calls.search(sketch, **arguments))

    async def search_batch(self, queries: Sequence[BatchQuery]) -> BatchAnswer:
        """As `Client.search_batch`."""
        return await self._document(calls.search_batch(queries))

    async def explain(
        self,
        sketch: Picture | None,
        photo_id: str,
        *,
        strokes: Strokes | None = None,
        min_version: str | None = None,
    ) -> Explanation:
        """As `Client.explain`."""
        return await self._document(calls.explain(sketch, photo_id, strokes, min_version))

    async def explain_picture(
        self,
        sketch: Picture | None,
        photo_id: str,
        kind: Drawn = "overlay",
        *,
        strokes: Strokes | None = None,
        among: Sequence[str] = (),
        min_version: str | None = None,
    ) -> bytes:
        """As `Client.explain_picture`."""
        return await self._bytes(
            calls.explain_picture(sketch, photo_id, kind, strokes=strokes, among=among, min_version=min_version)
        )

    async def similar(self, photo_id: str, top_k: int = 20) -> SimilarAnswer:
        """As `Client.similar`."""
        return await self._document(calls.similar(photo_id, top_k))

    async def photo(self, photo_id: str, rendition: Rendition = "original") -> bytes:
        """As `Client.photo`."""
        return await self._bytes(calls.photo(photo_id, rendition))

    async def thumbnail(self, photo_id: str) -> bytes:
        """As `Client.thumbnail`."""
        return await self._bytes(calls.thumbnail(photo_id))

    async def archive(self, photo_ids: Sequence[str], path: str | Path) -> None:
        """As `Client.archive`."""
        async with self._streamed(calls.archive(photo_ids)) as answer:
            with download(path) as file:
                async for piece in answer.aiter_bytes():
                    await asyncio.to_thread(file.write, piece)

    async def add(self, photos: Sequence[str | Path]) -> Job:
        """As `Client.add`."""
        with calls.adding(photos) as call:
            return await self._document(call)

    async def delete(self, photo_id: str) -> Deleted:
        """As `Client.delete`."""
        return Deleted.of(await self._good_answer(calls.delete(photo_id)))

    async def job(self, job_id: str) -> Job:
        """As `Client.job`."""
        return await self._document(calls.job(job_id))

    async def gallery(self) -> GalleryInfo:
        """As `Client.gallery`."""
        return await self._document(calls.GALLERY)

    async def events(self) -> AsyncIterator[GalleryEvent]:
        """As `Client.events`, for `async for`."""
        async with self._streamed(calls.events(self._http.timeout)) as answer:
            async for line in answer.aiter_lines():
                if (event := calls.event_of(line)) is not None:
                    yield event

    async def facets(self, **filters: Unpack[FilterArguments]) -> GalleryFacets:
        """As `Client.facets`."""
        return await self._document(calls.facets(**filters))

    async def reload(self) -> Reloaded:
        """As `Client.reload`."""
        return await self._document(calls.RELOAD)

    async def accept_loss(self) -> Job:
        """As `Client.accept_loss`."""
        return await self._document(calls.ACCEPT_LOSS)

    async def ready(self) -> Health:
        """As `Client.ready`."""
        return Health.model_validate_json((await self._answer(calls.READY)).content)

    async def _document(self, call: DocumentCall[Document]) -> Document:
        return call.document.model_validate_json(await self._bytes(call))

    async def _bytes(self, call: Call) -> bytes:
        return (await self._good_answer(call)).content

    async def _good_answer(self, call: Call) -> httpx2.Response:
        answer = await self._answer(call)
        if answer.is_error:
            raise ServiceAnswerError(answer)
        return answer

    @asynccontextmanager
    async def _streamed(self, call: Call) -> AsyncIterator[httpx2.Response]:
        try:
            async with self._http.stream(call.method, call.path, **call.parts) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise ServiceAnswerError(answer)
                yield answer
        except httpx2.TransportError as error:
            raise ServiceUnreachableError.at(self._http.base_url, error) from error

    async def _answer(self, call: Call) -> httpx2.Response:
        try:
            return await self._http.request(call.method, call.path, **call.parts)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError.at(self._http.base_url, error) from error
