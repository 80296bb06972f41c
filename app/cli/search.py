"""`sketchseek search`: photos by a sketch, words or a photo, from a gallery on this machine or from a service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.filter_options import FilterOptions, for_client
from app.cli.opened_gallery import open_searcher
from app.cli.option_groups import with_options
from app.cli.part_options import PartOptions
from app.cli.search_folder import Ask, as_text, search_each
from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    RecallOption,
)
from model.errors import SketchseekError

if TYPE_CHECKING:
    from app.search.query_and_answer import Query
    from app.settings import Settings
    from sketchseek_client import SearchAnswer


class RemoteServiceError(SketchseekError):
    """The service cannot be reached, or answered with an error.

    Attributes:
        status: of its answer; None if it cannot be reached.
    """

    def __init__(self, message: str, code: str, status: int | None) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@with_options(FilterOptions, "filters")
@with_options(PartOptions, "parts")
def command(
    sketch: Annotated[
        Path | None,
        typer.Argument(help="A picture of a sketch, or a folder: each picture in it searches.", show_default=False),
    ] = None,
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address instead.")] = None,
    key: Annotated[str | None, typer.Option(envvar="SKETCHSEEK_READ_KEY", help="The service's key.")] = None,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    recall: RecallOption = "auto",
    top_k: Annotated[int, typer.Option(min=1, help="Results wanted.")] = 20,
    candidates: Annotated[int | None, typer.Option(min=1, help="Depth of the recall stage.")] = None,
    rerank: Annotated[bool, typer.Option(help="Compare the candidates in detail.")] = True,
    expand: Annotated[bool, typer.Option(help="Widen the search by its first hits.")] = True,
    context: Annotated[bool, typer.Option(help="Let the candidates' scores heed each other.")] = True,
    collapse: Annotated[bool, typer.Option("--collapse", help="Near-identical results become one.")] = False,
    as_json: JsonOption = False,
    parts: PartOptions,
    filters: FilterOptions,
) -> None:
    """Find photos by a sketch, by words, by a photo, by photos you like, or by several of these."""
    from app.search.query_and_answer import Query

    parts.check(sketch)
    depth = candidates or max(100, top_k)
    if depth < top_k:
        raise typer.BadParameter(f"--candidates ({depth}) must be at least --top-k ({top_k})")
    query = Query(top_k, depth, rerank, only=filters.chosen(), expand=expand, context=context, collapse=collapse)
    if url:
        asking = _remote(url, key, parts, query)
    else:
        from app.settings import load_settings

        settings = load_settings(gallery=gallery, checkpoint=checkpoint, device=device, recall=recall)
        asking = _local(settings, parts, query)
    with asking as ask:
        if sketch is not None and sketch.is_dir():
            search_each(sketch, ask, as_json=as_json)
            return
        answer = ask(sketch)
    print(answer.model_dump_json() if as_json else as_text(answer))


@contextmanager
def _remote(url: str, key: str | None, parts: PartOptions, query: Query) -> Iterator[Ask]:
    """What asks a service."""
    from sketchseek_client import Client, ClientError

    with Client(url, key) as client:

        def ask(sketch: Path | None) -> SearchAnswer:
            try:
                return client.search(
                    **parts.for_client(sketch),
                    top_k=query.top_k,
                    candidates=query.candidates,
                    rerank=query.rerank,
                    expand=query.expand,
                    context=query.context,
                    collapse=query.collapse,
                    **for_client(query.only),
                )
            except ClientError as error:
                raise RemoteServiceError(str(error), error.code, getattr(error, "status", None)) from None

        yield ask


@contextmanager
def _local(settings: Settings, parts: PartOptions, query: Query) -> Iterator[Ask]:
    """What asks a gallery on this machine."""
    from app.search.answer_documents import search_answer
    from app.search.text_encoder import TextEncoder

    searcher = open_searcher(settings)
    snapshot, texts = searcher.snapshot, TextEncoder(searcher.network)
    snapshot.check(query.only)

    def ask(sketch: Path | None) -> SearchAnswer:
        started = time.perf_counter()
        prepared = parts.prepared(searcher, texts, sketch)
        decoded = time.perf_counter()
        found = next(searcher.search_many([prepared], [query]))
        timings = {"decode": (decoded - started) * 1000, "queue": 0.0, **found.stages_ms}
        timings["total"] = (time.perf_counter() - started) * 1000
        return search_answer(found, snapshot, timings_ms=timings, root_path=None)

    yield ask
