"""`sketchseek search`: photos by a sketch, words or a photo, from a gallery on this machine or from a service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.filter_options import FilterOptions, for_client
from app.cli.opened_gallery import open_searcher
from app.cli.option_groups import with_options
from app.cli.part_options import PartOptions
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
    """The service cannot be reached, or answered with an error."""

    code = "remote_service"


@with_options(FilterOptions, "filters")
@with_options(PartOptions, "parts")
def command(
    sketch: Annotated[Path | None, typer.Argument(help="A picture of a sketch.", show_default=False)] = None,
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
    collapse: Annotated[bool, typer.Option("--collapse", help="Near-identical results become one.")] = False,
    as_json: JsonOption = False,
    parts: PartOptions,
    filters: FilterOptions,
) -> None:
    """Find photos by a sketch, by words, by a photo, by photos you like, or by several of these."""
    from app.search.query_and_answer import Query

    parts.check(sketch)
    depth = candidates or max(100, top_k)
    query = Query(top_k, depth, rerank, only=filters.chosen(), expand=expand, collapse=collapse)
    if url:
        answer = _remote(url, key, parts.for_client(sketch), query)
    else:
        from app.settings import load_settings

        settings = load_settings(gallery=gallery, checkpoint=checkpoint, device=device, recall=recall)
        answer = _local(settings, sketch, parts, query)
    if as_json:
        print(answer.model_dump_json())
        return
    for result in answer.results:
        more = f"  and {result.count - 1} like it" if result.count is not None and result.count > 1 else ""
        print(f"{result.rank:4d}  {result.score:.4f}  {result.path}{more}")


def _remote(url: str, key: str | None, parts: dict[str, Any], query: Query) -> SearchAnswer:
    from sketchseek_client import Client, ClientError

    try:
        with Client(url, key) as client:
            return client.search(
                **parts,
                top_k=query.top_k,
                candidates=query.candidates,
                rerank=query.rerank,
                expand=query.expand,
                collapse=query.collapse,
                **for_client(query.only),
            )
    except ClientError as error:
        raise RemoteServiceError(str(error)) from None


def _local(settings: Settings, sketch: Path | None, parts: PartOptions, query: Query) -> SearchAnswer:
    from app.search.answer_documents import search_answer

    searcher = open_searcher(settings)
    snapshot = searcher.snapshot
    snapshot.check(query.only)
    started = time.perf_counter()
    prepared = parts.prepared(searcher, sketch)
    decoded = time.perf_counter()
    found = next(searcher.search_many([prepared], [query]))
    timings = {"decode": (decoded - started) * 1000, "queue": 0.0, **found.stages_ms}
    timings["total"] = (time.perf_counter() - started) * 1000
    return search_answer(found, snapshot, timings_ms=timings, root_path=None)
