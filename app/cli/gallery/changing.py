"""Commands that change a gallery or what is kept beside it: build, add, remove, sync, rebuild, index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.gallery.options import (
    DEFAULT_CHECKPOINT,
    DEFAULT_GALLERY,
    BatchOption,
    CheckpointOption,
    CommitOption,
    ContentsOption,
    DeviceOption,
    DtypeOption,
    GalleryOption,
    JsonOption,
    MovedOption,
    StrictOption,
    WaitOption,
    WorkersOption,
)
from app.cli.gallery.output import print_json, print_report, shown_progress
from index_builder.gallery_errors import UnknownPhotoError

if TYPE_CHECKING:
    from index_builder.ingest.pipeline import BuildOptions
    from model.networks.network import Network


def build(
    photos: Annotated[Path, typer.Argument(help="Folder of the photos.")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = 32,
    commit: CommitOption = 256,
    workers: WorkersOption = None,
    strict: StrictOption = False,
    check_contents: ContentsOption = False,
    wait: WaitOption = 0.0,
    moved: MovedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add everything of a folder to the gallery, which is made if there is none. Run again, it goes on where it was."""
    from index_builder.ingest.changes import build_gallery

    options = _options(batch_size, commit, workers, strict=strict, contents=check_contents, wait=wait, moved=moved)
    network = _network(checkpoint, device, dtype)
    with shown_progress() as progress:
        report = build_gallery(photos, gallery, network, options=options, progress=progress)
    print_report(report, as_json=as_json)


def add(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders inside the photos' folder.")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = 32,
    commit: CommitOption = 256,
    workers: WorkersOption = None,
    strict: StrictOption = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Add some files or folders, or encode them again if they changed. Relative paths start here or at the photos."""
    from index_builder.ingest.changes import add_photos
    from index_builder.store.gallery import Gallery

    opened = Gallery.open(gallery)
    root = Path(opened.metadata(opened.dataset()).root)
    options = _options(batch_size, commit, workers, strict=strict, wait=wait)
    network = _network(checkpoint, device, dtype)
    chosen = [path.absolute() if os.path.lexists(path) else root / path for path in paths]
    with shown_progress() as progress:
        report = add_photos(gallery, root, chosen, network, options=options, progress=progress)
    print_report(report, as_json=as_json)


def remove(
    photos: Annotated[list[str], typer.Argument(help="Photo ids, or paths below the photos' folder.")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove photos from the gallery; their files stay, so that `sync` would add them again."""
    from index_builder.ingest.changes import find_photo_ids, remove_photos

    found = find_photo_ids(gallery, photos)
    missing = [name for name, ids in found.items() if not ids]
    if missing:
        raise UnknownPhotoError(f"the gallery {gallery} has no {', '.join(missing)}; nothing was removed")
    report = remove_photos(gallery, [photo for ids in found.values() for photo in ids], wait_s=wait)
    print_report(report, as_json=as_json)


def sync(
    photos: Annotated[
        Path | None, typer.Argument(help="Folder of the photos; default: what the gallery knows.")
    ] = None,
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = 32,
    commit: CommitOption = 256,
    workers: WorkersOption = None,
    strict: StrictOption = False,
    check_contents: ContentsOption = False,
    wait: WaitOption = 0.0,
    moved: MovedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the gallery what its folder is: add, drop, encode again what changed, and touch nothing else."""
    from index_builder.ingest.changes import sync_gallery

    options = _options(batch_size, commit, workers, strict=strict, contents=check_contents, wait=wait, moved=moved)
    network = _network(checkpoint, device, dtype)
    with shown_progress() as progress:
        report = sync_gallery(gallery, network, photos=photos, options=options, progress=progress)
    print_report(report, as_json=as_json)


def rebuild(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    photos: Annotated[Path | None, typer.Option(help="Where the photos are now.")] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = 32,
    commit: CommitOption = 256,
    workers: WorkersOption = None,
    strict: StrictOption = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Encode all photos again with another checkpoint, beside the old gallery, and switch when it is whole."""
    from index_builder.ingest.rebuild import rebuild_gallery

    options = _options(batch_size, commit, workers, strict=strict, wait=wait)
    network = _network(checkpoint, device, dtype)
    with shown_progress() as progress:
        report = rebuild_gallery(gallery, network, photos=photos, options=options, progress=progress)
    print_report(report, as_json=as_json)


def index(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    checkpoint: CheckpointOption = DEFAULT_CHECKPOINT,
    recall: Annotated[
        str, typer.Option(help="auto, flat, ivf or hash; as the service is to search.", envvar="SKETCHSEEK_RECALL")
    ] = "auto",
    hash_bits: Annotated[
        int, typer.Option(min=8, help="Length of codes fitted to the gallery.", envvar="SKETCHSEEK_HASH_BITS")
    ] = 256,
    hash_source: Annotated[str, typer.Option(help="learnt, itq or auto.", envvar="SKETCHSEEK_HASH_SOURCE")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make the search index now and keep it beside the gallery, so that the next start finds it."""
    from index_builder.index.recall import settings_from_words
    from index_builder.reading.snapshot import GallerySnapshot

    settings = settings_from_words(recall, hash_bits, hash_source)
    network = _network(checkpoint, "cpu", "float32")
    snapshot = GallerySnapshot.load(
        gallery, network.identity, recall=settings, hash_projection=network.hash_projection, cache_bytes=0
    )
    times = snapshot.load_times
    if as_json:
        values = {"photos": len(snapshot), "recall": snapshot.recall_kind, "seconds": round(times.recall_s, 3)}
        print_json({**values, "cached": times.recall_cached})
        return
    made = "was there already" if times.recall_cached else f"made in {times.recall_s:.1f} s"
    print(f"{len(snapshot)} photos, {snapshot.recall_kind}: {made}")


def _options(
    batch_size: int,
    commit: int,
    workers: int | None,
    *,
    strict: bool,
    wait: float,
    contents: bool = False,
    moved: bool = False,
) -> BuildOptions:
    from index_builder.ingest.pipeline import BuildOptions

    return BuildOptions(
        batch_size=batch_size,
        commit_photos=commit,
        workers=workers,
        strict=strict,
        check_contents=contents,
        wait_s=wait,
        moved=moved,
    )


def _network(checkpoint: str, device: str, dtype: str) -> Network:
    # OpenMP reads this when it starts: threads that spin while they wait take the cores from those that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from model.checkpoints.files import load_checkpoint

    return load_checkpoint(checkpoint, device, dtype)
