"""`sketchseek serve`: the service on this machine."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Annotated

import typer

from app.cli.early_end import ended_by_sigterm
from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    DeviceOption,
    ExcludeOption,
    GalleryOption,
    LinksOption,
    RecallOption,
    excluded_patterns,
    linked_folders,
)


def command(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    photos: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of the photos, or NAME=FOLDER; may be repeated. The first start builds the gallery from it."
        ),
    ] = None,
    watch: Annotated[list[str] | None, typer.Option(help="As --photos, and follow changes in these folders.")] = None,
    exclude: ExcludeOption = None,
    links: LinksOption = None,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    recall: RecallOption = "auto",
    writes: Annotated[
        str | None,
        typer.Option(help="off: only read the gallery, which another process writes.", metavar="auto|off"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console.")] = None,
) -> None:
    """Serve a gallery over HTTP. Every setting can also come from the environment (SKETCHSEEK_...)."""
    # OpenMP reads this when it starts, so it is set before torch and FAISS are imported. Threads that spin while they
    # wait would take the cores from those that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from app.logs import configure_logging
    from app.settings import load_settings

    settings = load_settings(
        gallery=gallery,
        photos=watch or photos or None,
        watch=True if watch else None,
        exclude=excluded_patterns(exclude),
        follow_links_to=linked_folders(links),
        checkpoint=checkpoint,
        device=device,
        recall=recall,
        writes=writes,
        host=host,
        port=port,
        log_format=log_format,
    )
    configure_logging(settings.log_level, settings.log_format)

    from app.main import create_app
    from app.server import address_of, end_process, listen, serve
    from index_builder import Gallery
    from index_builder.gallery_errors import GalleryAwayError, GalleryNotFoundError
    from index_builder.index.gpu_choice import check_recall_device
    from index_builder.index.milvus_index import check_recall_server
    from model.checkpoints.files import load_checkpoint

    with ExitStack() as stack:
        stack.enter_context(ended_by_sigterm())
        # Listen first, so that a taken port is reported before anything slow is done.
        listener = stack.enter_context(listen(settings.host, settings.port))
        admin = stack.enter_context(listen(settings.host, settings.admin_port)) if settings.admin_port else None
        check_recall_device(settings.recall_settings)
        check_recall_server(settings.recall_settings, settings.max_candidates, settings.max_top_k)
        network = load_checkpoint(settings.checkpoint, settings.device, settings.dtype)
        try:
            opened = Gallery.open(settings.gallery)
            opened.metadata(opened.dataset()).check(network.identity, network.preprocess.identity)
        except GalleryNotFoundError:
            if settings.photos is None and settings.may_change:
                raise
        except GalleryAwayError as error:  # it is served as soon as its storage answers
            typer.echo(f"{error}; the service goes on and tries again", err=True)
        typer.echo(f"Sketchseek listens at {address_of(settings, listener.getsockname()[1])}", err=True)
        served = serve(create_app(settings, network), settings, listener, admin)
    end_process(0 if served else 1)
