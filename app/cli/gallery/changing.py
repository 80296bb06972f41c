"""Commands that change a gallery or what is kept beside it: build, add, remove, sync, rebuild, index."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.gallery.encoding_options import EncodingOptions, WaitOption, load_network, with_encoding_options
from app.cli.gallery.output import listed, print_json, print_report, shown_progress
from app.cli.shared_options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    CheckpointOption,
    ExcludeOption,
    GalleryOption,
    JsonOption,
    LinksOption,
    RecallOption,
    excluded_patterns,
    linked_folders,
    one_of,
)
from index_builder.gallery_errors import UnknownPhotoError
from index_builder.index.settings import CodeSource

if TYPE_CHECKING:
    from index_builder.ingest.build_options import BuildOptions
    from index_builder.ingest.build_report import BuildReport
    from index_builder.photo_folders import PhotoFolders

ContentsOption = Annotated[bool, typer.Option("--check-contents", help="Read every file, whatever its time says.")]
LostOption = Annotated[
    float,
    typer.Option(
        "--most-lost",
        min=0,
        max=100,
        help="Per cent of a folder's photos that may be gone or changed at once; more are held.",
        envvar="SKETCHSEEK_MOST_LOST",
    ),
]
AcceptOption = Annotated[
    bool, typer.Option("--accept-loss", help="Believe the losses that the last command has shown as held, and no more.")
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Go on until told to end: follow changes in the folders, as a service does.")
]
MovedOption = Annotated[bool, typer.Option("--moved", help="The photos' folder is at a new place.")]


class Engine(StrEnum):
    """Where photos are read and encoded."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[Engine, typer.Option("--engine", help="Read and encode here, or on a Ray cluster.")]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help="HOST:PORT of a Ray cluster's head, or auto, from a machine of the cluster; default: this machine alone.",
        envvar="RAY_ADDRESS",
    ),
]

PHOTOS_HELD = 3
"""Exit code where photos stay although their files were not found: somebody should look."""


@with_encoding_options
def build(
    photos: Annotated[
        list[str],
        typer.Argument(help="Folder of the photos, or s3://BUCKET/FOLDER; several get names, as NAME=FOLDER."),
    ],
    *,
    exclude: ExcludeOption = None,
    links: LinksOption = None,
    check_contents: ContentsOption = False,
    moved: MovedOption = False,
    most_lost: LostOption = 50.0,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayOption = None,
    encoding: EncodingOptions,
) -> None:
    """Add every photo of a folder to the gallery. Makes the gallery if there is none, and resumes where it stopped."""
    from index_builder.ingest.changes import build_gallery

    folders = _folders(encoding, photos, exclude, links)
    options = encoding.build_options(check_contents=check_contents, moved=moved, most_lost=most_lost)
    _encode(encoding, options, partial(build_gallery, folders, encoding.gallery), engine, ray_address)


@with_encoding_options
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders inside the photos' folder.")],
    *,
    exclude: ExcludeOption = None,
    links: LinksOption = None,
    encoding: EncodingOptions,
) -> None:
    """Add files or folders, or encode them again if they changed. Relative paths start here or at the photos."""
    from index_builder.ingest.changes import add_photos

    folders = _folders(encoding, None, exclude, links)
    chosen = [path.absolute() if os.path.lexists(path) else path for path in paths]
    _encode(encoding, encoding.build_options(), partial(add_photos, encoding.gallery, folders, chosen))


def remove(
    photos: Annotated[list[str], typer.Argument(help="Photo ids, or paths below the photos' folder.")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove photos from the gallery. Their files stay, so `sync` would add them again."""
    from index_builder.ingest.changes import remove_photos
    from index_builder.ingest.photo_names import find_photo_ids

    found = find_photo_ids(gallery, photos)
    missing = [name for name, ids in found.items() if not ids]
    if missing:
        raise UnknownPhotoError(f"the gallery {gallery} has no {', '.join(missing)}; nothing was removed")
    report = remove_photos(gallery, [photo for ids in found.values() for photo in ids], wait_s=wait)
    print_report(report, as_json=as_json)


@with_encoding_options
def sync(
    photos: Annotated[
        list[str] | None, typer.Argument(help="Folder of the photos, or several; default: what the gallery remembers.")
    ] = None,
    *,
    exclude: ExcludeOption = None,
    links: LinksOption = None,
    check_contents: ContentsOption = False,
    moved: MovedOption = False,
    most_lost: LostOption = 50.0,
    accept_loss: AcceptOption = False,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayOption = None,
    follow: FollowOption = False,
    encoding: EncodingOptions,
) -> None:
    """Make the gallery match its folder: add new photos, drop missing ones, and encode changed ones again."""
    if follow:
        from app.cli.gallery import following

        once = {
            "--check-contents": check_contents,
            "--moved": moved,
            "--accept-loss": accept_loss,
            "--engine ray": engine is Engine.RAY,
            "--list-skipped": encoding.list_skipped is not None,
            "--json": encoding.as_json,
        }
        following.follow(encoding, photos, exclude, links, most_lost, once=once)
        return
    from index_builder.ingest.changes import sync_gallery

    folders = _folders(encoding, photos or None, exclude, links)
    options = encoding.build_options(
        check_contents=check_contents, moved=moved, most_lost=most_lost, accept_loss=accept_loss
    )
    _encode(encoding, options, partial(sync_gallery, encoding.gallery, photos=folders), engine, ray_address)


@with_encoding_options
def rebuild(
    *,
    photos: Annotated[list[str] | None, typer.Option(help="Where the photos are now; may be repeated.")] = None,
    most_lost: LostOption = 50.0,
    accept_loss: AcceptOption = False,
    encoding: EncodingOptions,
) -> None:
    """Encode all photos again with another checkpoint, beside the old gallery, and switch when that is done."""
    from index_builder.ingest.rebuild import rebuild_gallery

    options = encoding.build_options(most_lost=most_lost, accept_loss=accept_loss)
    _encode(encoding, options, partial(rebuild_gallery, encoding.gallery, photos=photos or None))


def index(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    recall: RecallOption = "auto",
    hash_bits: Annotated[
        int, typer.Option(min=8, help="Length of codes fitted to the gallery.", envvar="SKETCHSEEK_HASH_BITS")
    ] = 256,
    hash_source: Annotated[str, typer.Option(help=f"{one_of(CodeSource)}.", envvar="SKETCHSEEK_HASH_SOURCE")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make the search index now and keep it, beside the gallery or in Milvus, so that the next start finds it."""
    from app.settings import load_settings
    from index_builder.index.settings import settings_from_words
    from index_builder.reading.snapshot import GallerySnapshot

    server = load_settings().recall_settings
    settings = replace(
        settings_from_words(recall, hash_bits, hash_source),
        device="cpu",  # nothing is searched
        server_url=server.server_url,
        server_token=server.server_token,
        cache=server.cache,
    )
    network = load_network(checkpoint, "cpu", "float32")
    snapshot = GallerySnapshot.load(
        gallery, network.identity, recall=settings, hash_projection=network.hash_projection, cache_bytes=0
    )
    times = snapshot.load_times
    if as_json:
        values = {"photos": len(snapshot), "recall": snapshot.recall_kind, "seconds": round(times.recall_s, 3)}
        print_json({**values, "cached": times.recall_cached})
        return
    made = "was there already" if times.recall_cached else f"made in {times.recall_s:.1f} s"
    if snapshot.recall_kind.startswith("flat"):
        made += ", as at every start; only IVF and hash codes are kept"
    print(f"{len(snapshot)} photos, {snapshot.recall_kind}: {made}")


def _folders(
    encoding: EncodingOptions, photos: list[str] | None, exclude: list[str] | None, links: list[str] | None
) -> PhotoFolders:
    """Which photos a command is about."""
    from index_builder.ingest.named_folders import chosen_folders

    return chosen_folders(encoding.gallery, photos, exclude=excluded_patterns(exclude), links_to=linked_folders(links))


def _encode(
    encoding: EncodingOptions,
    options: BuildOptions,
    change: Callable[..., BuildReport],
    engine: Engine = Engine.LOCAL,
    ray_address: str | None = None,
) -> None:
    """Change the gallery with the network and a progress bar, and print the report."""
    if engine is Engine.RAY:
        from index_builder.distributed.ray_engine import RayEngine

        options = replace(options, engine=RayEngine(ray_address, encoding.device, encoding.dtype))
        network = load_network(encoding.checkpoint, "cpu", "float32")  # workers encode, each on its own device
    else:
        network = encoding.network()
    with listed(encoding.list_skipped) as on_passed_over, shown_progress() as progress:
        report = change(network, options=replace(options, on_passed_over=on_passed_over), progress=progress)
    print_report(report, as_json=encoding.as_json)
    if report.held:
        raise typer.Exit(PHOTOS_HELD)
