"""`sketchseek search`: photos by a sketch, from a gallery on this machine or from a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shared_options import (
    CheckpointOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    RecallOption,
    SketchArgument,
)

if TYPE_CHECKING:
    from app.search.searcher import Query
    from app.settings import Settings


def command(
    sketch: SketchArgument,
    *,
    gallery: GalleryOption = None,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address instead.")] = None,
    key: Annotated[str | None, typer.Option(envvar="SKETCHSEEK_READ_KEY", help="The service's key.")] = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
    recall: RecallOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Results wanted.")] = 20,
    candidates: Annotated[int | None, typer.Option(min=1, help="Depth of the recall stage.")] = None,
    rerank: Annotated[bool, typer.Option(help="Compare the candidates in detail.")] = True,
    expand: Annotated[bool, typer.Option(help="Widen the search by its first hits.")] = True,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only photos with this tag; may be given several times.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the photos that a sketch shows."""
    from app.search.searcher import Query

    query = Query(top_k, candidates or max(100, top_k), rerank, tags=tuple(tag or ()), expand=expand)
    if url:
        answer = _remote(url, key, sketch, query)
    else:
        from app.settings import load_settings

        settings = load_settings(gallery=gallery, checkpoint=checkpoint, device=device, recall=recall)
        answer = _local(settings, sketch, query)
    if as_json:
        print(json.dumps(answer))
        return
    for result in answer["results"]:
        print(f"{result['rank']:4d}  {result['score']:.4f}  {result['path']}")


def _remote(url: str, key: str | None, sketch: Path, query: Query) -> dict[str, Any]:
    from app.client import Client

    with Client(url, key) as client:
        return client.search(
            _readable(sketch),
            top_k=query.top_k,
            candidates=query.candidates,
            rerank=query.rerank,
            expand=query.expand,
            tags=query.tags,
        ).model_dump()


def _local(settings: Settings, sketch: Path, query: Query) -> dict[str, Any]:
    from app.search.searcher import TwoStageSearcher
    from index_builder import GallerySnapshot
    from index_builder.gallery_errors import GalleryError
    from model.checkpoints.files import load_checkpoint
    from model.images.opening import open_image
    from model.images.preprocess import SKETCH_LONGEST_SIDE

    network = load_checkpoint(settings.checkpoint, settings.device, settings.dtype)
    snapshot = GallerySnapshot.load(
        settings.gallery,
        network.identity,
        recall=settings.recall_settings,
        hash_projection=network.hash_projection,
        device=network.device,
        dtype=network.dtype,
        cache_bytes=0,
    )
    opened = open_image(_readable(sketch), longest_side=SKETCH_LONGEST_SIDE)
    unknown = [name for name in query.tags if name not in snapshot.tags]
    if unknown:
        raise GalleryError(f"no photo has the tag {unknown[0]!r}; `sketchseek gallery info` lists the tags")
    answer = TwoStageSearcher(network, snapshot).search(opened, query)
    return {
        "results": [
            {
                "rank": found.rank,
                "photo_id": found.photo.photo_id,
                "score": found.score,
                "relation_score": found.relation_score,
                "recall_score": found.recall_score,
                "recall_rank": found.recall_rank,
                "path": found.photo.path,
                "tags": list(found.photo.tags),
                "width": found.photo.width,
                "height": found.photo.height,
            }
            for found in answer.results
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in answer.stages_ms.items()},
        "gallery_version": snapshot.version,
        "checkpoint": snapshot.checkpoint,
        "reranked": query.rerank,
        "total_photos": answer.searched,
    }


def _readable(sketch: Path) -> bytes:
    """The file's bytes.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    from model.errors import ImageError

    try:
        return sketch.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {sketch}: {error.strerror}; check the path") from None
