"""The gallery: what is being served, and looking for a newer version at once."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.http.access import require_change, require_read, require_write
from app.http.documented_problems import problems
from app.http.requests.batch_request import MOST_QUERIES
from app.http.requests.filter_options import MOST_NAMED, documented_parameters, filter_of_address
from app.http.requests.part_options import MOST_MARKED
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.jobs import change_answer, wait_a_while
from app.http.routes.service_of import service_of
from app.search.text_encoder import MOST_CHARACTERS
from app.service.changes.jobs import Job
from app.service_errors import RequestError
from index_builder.gallery_errors import GalleryError
from sketchseek_client import (
    CheckpointInfo,
    FacetCount,
    GalleryFacets,
    GalleryInfo,
    HeldFolder,
    Limits,
    Progress,
    Reloaded,
    TagCount,
)
from sketchseek_client import Job as JobDocument

router = APIRouter(tags=["gallery"])


@router.get(
    "/gallery",
    response_model=GalleryInfo,
    responses=problems(401, 422),
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    summary="What is being served",
)
async def gallery(request: Request) -> GalleryInfo:
    """Size, version and tags of the gallery, the progress of a build, and what this service accepts."""
    service = service_of(request)
    settings = service.settings
    served = service.gallery.current
    standing = service.changes.progress
    problem = service.changes.problem or service.gallery.problem
    known = settings.photos if served is None else served.folders
    identity, rule = service.network.identity, service.network.config.score
    return GalleryInfo(
        photos=0 if served is None else len(served.snapshot),
        version=None if served is None else served.snapshot.version,
        checkpoint=CheckpointInfo(name=identity.name, sha256=identity.sha256, reranks=not rule.keeps_recall_order),
        tags=[] if served is None else [TagCount(name=n, photos=c) for n, c in served.snapshot.tags.items()],
        recall=None if served is None else served.snapshot.recall_kind,
        recall_problem=None if served is None else served.snapshot.recall_problem,
        building=None if standing is None else Progress(step=standing.step, done=standing.done, total=standing.total),
        last_error=None if problem is None else problem.code,
        held=[
            HeldFolder(folder=one.folder, photos=one.photos, code=one.code, detail=f"The folder {one.reason}.")
            for one in service.held.now
        ],
        following=service.following,
        folders=[] if known is None else known.names,
        writable=settings.write_key is not None and settings.may_change,
        limits=Limits(
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            max_upload_files=settings.max_upload_files,
            max_archive_photos=settings.max_archive_photos,
            max_archive_bytes=settings.max_archive_bytes,
            max_pixels=settings.max_sketch_pixels,
            max_strokes=settings.max_strokes,
            max_points=settings.max_points,
            max_top_k=settings.max_top_k,
            max_candidates=settings.max_candidates,
            max_batch_queries=MOST_QUERIES,
            max_batch_results=settings.max_batch_results,
            max_text=MOST_CHARACTERS,
            max_marked=MOST_MARKED,
            max_tags=MOST_NAMED,
            formats=[name.lower() for name in service.sketch_limits.formats],
        ),
    )


@router.get(
    "/gallery/facets",
    response_model=GalleryFacets,
    responses=problems(401, 422),
    dependencies=[Depends(require_read)],
    openapi_extra={"parameters": documented_parameters()},
    summary="How many photos each filter would leave",
)
async def facets(request: Request) -> GalleryFacets:
    """Tags, shapes, file types, folders and months, each with its photos. Takes the filters of a search."""
    options = filter_of_address(request)
    snapshot = service_of(request).gallery.serve().snapshot
    chosen = options.chosen(snapshot)
    counts = await asyncio.to_thread(snapshot.facets, chosen)
    kinds = ("tags", "orientations", "types", "folders", "months")
    return GalleryFacets(
        photos=counts.photos,
        as_of=None if snapshot.as_of is None else snapshot.as_of.isoformat(),
        gallery_version=snapshot.version,
        **{kind: [FacetCount(name=n, photos=c) for n, c in getattr(counts, kind).items()] for kind in kinds},
    )


@router.post(
    "/gallery/reload",
    response_model=Reloaded,
    responses=problems(401, 403, 409, 422),
    dependencies=[Depends(require_write), Depends(only_known_parameters)],
    summary="Serve the latest version now",
)
async def reload(request: Request) -> Reloaded:
    """Looks for a newer version on disk at once. The service does so by itself every moment."""
    service = service_of(request)
    try:
        swapped = await service.gallery.refresh(retry=True)
    except GalleryError as error:
        raise RequestError(error.code, "The latest version cannot be served; the log says why.", 409) from error
    served = service.gallery.serve()
    return Reloaded(swapped=swapped, gallery_version=served.snapshot.version, photos=len(served.snapshot))


@router.post(
    "/gallery/accept-loss",
    response_model=JobDocument,
    responses={
        202: {"model": JobDocument, "description": "Taken in; `url` says when the photos are found no more."},
        **problems(401, 403, 409, 422),
    },
    dependencies=[Depends(require_change), Depends(only_known_parameters)],
    summary="Confirm that held photos are gone",
)
async def accept_loss(request: Request) -> Response:
    """Believes what `held` of `GET /gallery` lists at this moment. What is lost beyond that, or unreadable, stays."""
    service = service_of(request)
    service.gallery.serve()
    await asyncio.to_thread(service.changes.folders)
    service.jobs.make_sure_of_room(service.settings.retry_after_s)
    job = service.jobs.add(Job([]))
    await wait_a_while(service, job, service.changes.accept_loss(job))
    return change_answer(request, job, done=200)
