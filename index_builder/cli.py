"""`sketchseek gallery ...`: the command line only; each command is a thin call of a Python function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index_builder.errors import UnknownPhotoError
from index_builder.options import (
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

if TYPE_CHECKING:
    from index_builder.pipeline import BuildOptions, BuildReport, OnProgress
    from model.network import Network

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
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
    from index_builder.build import build_gallery

    options = _options(batch_size, commit, workers, strict=strict, contents=check_contents, wait=wait, moved=moved)
    network = _network(checkpoint, device, dtype)
    with _progress() as progress:
        report = build_gallery(photos, gallery, network, options=options, progress=progress)
    _print_report(report, as_json=as_json)


@app.command()
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
    from index_builder.build import add_photos
    from index_builder.gallery import Gallery

    opened = Gallery.open(gallery)
    root = Path(opened.metadata(opened.dataset()).root)
    options = _options(batch_size, commit, workers, strict=strict, wait=wait)
    network = _network(checkpoint, device, dtype)
    chosen = [path.absolute() if os.path.lexists(path) else root / path for path in paths]
    with _progress() as progress:
        report = add_photos(gallery, root, chosen, network, options=options, progress=progress)
    _print_report(report, as_json=as_json)


@app.command()
def remove(
    photos: Annotated[list[str], typer.Argument(help="Photo ids, or paths below the photos' folder.")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove photos from the gallery; their files stay, so that `sync` would add them again."""
    from index_builder.build import find_photo_ids, remove_photos

    found = find_photo_ids(gallery, photos)
    missing = [name for name, ids in found.items() if not ids]
    if missing:
        raise UnknownPhotoError(f"the gallery {gallery} has no {', '.join(missing)}; nothing was removed")
    report = remove_photos(gallery, [photo for ids in found.values() for photo in ids], wait_s=wait)
    _print_report(report, as_json=as_json)


@app.command()
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
    from index_builder.build import sync_gallery

    options = _options(batch_size, commit, workers, strict=strict, contents=check_contents, wait=wait, moved=moved)
    network = _network(checkpoint, device, dtype)
    with _progress() as progress:
        report = sync_gallery(gallery, network, photos=photos, options=options, progress=progress)
    _print_report(report, as_json=as_json)


@app.command()
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
    from index_builder.rebuild import rebuild_gallery

    options = _options(batch_size, commit, workers, strict=strict, wait=wait)
    network = _network(checkpoint, device, dtype)
    with _progress() as progress:
        report = rebuild_gallery(gallery, network, photos=photos, options=options, progress=progress)
    _print_report(report, as_json=as_json)


@app.command()
def verify(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    photos: Annotated[Path | None, typer.Option(help="Where the photos are now.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Photos to decode again.")] = 32,
    seed: Annotated[int | None, typer.Option(help="Of that sample.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of the gallery and a sample of its photos; exit code 0 only if it is whole."""
    from index_builder.verify import verify_gallery

    report = verify_gallery(gallery, root=photos, sample=sample, seed=seed)
    if as_json:
        _print_json({"whole": report.whole, **asdict(report)})
    else:
        for note in report.notes:
            print(f"note: {note}", file=sys.stderr)
        for problem in report.problems:
            print(f"{_printable(problem.where)}: {_printable(problem.what)}")
        state = "is whole" if report.whole else f"has {len(report.problems)} problems"
        print(
            f"gallery {gallery} {state}: version {report.version or 'unknown'}, {report.photos} photos, "
            f"{report.files} files compared, {report.decoded} photos decoded"
        )
    if not report.whole:
        raise typer.Exit(1)


@app.command()
def info(*, gallery: GalleryOption = DEFAULT_GALLERY, as_json: JsonOption = False) -> None:
    """What the gallery is: photos, version, checkpoint, sizes."""
    from index_builder.export import gallery_info

    values = asdict(gallery_info(gallery))
    if as_json:
        _print_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:<{width}}  {_printable(str(value))}")


@app.command()
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
    from index_builder.recall import settings_from_words
    from index_builder.snapshot import GallerySnapshot

    settings = settings_from_words(recall, hash_bits, hash_source)
    network = _network(checkpoint, "cpu", "float32")
    snapshot = GallerySnapshot.load(
        gallery, network.identity, recall=settings, hash_projection=network.hash_projection, cache_bytes=0
    )
    times = snapshot.load_times
    if as_json:
        values = {"photos": len(snapshot), "recall": snapshot.recall_kind, "seconds": round(times.recall_s, 3)}
        _print_json({**values, "cached": times.recall_cached})
        return
    made = "was there already" if times.recall_cached else f"made in {times.recall_s:.1f} s"
    print(f"{len(snapshot)} photos, {snapshot.recall_kind}: {made}")


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="NAME.parquet, or NAME.npy (ids go to NAME.ids.txt).")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
) -> None:
    """Write the descriptors of all photos into one file."""
    from index_builder.export import export_descriptors

    photos = export_descriptors(gallery, output)
    if as_json:
        _print_json({"photos": photos, "output": str(output)})
    else:
        print(f"{photos} descriptors written to {output}")


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
    from index_builder.pipeline import BuildOptions

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
    from model.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint, device, dtype)


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar on stderr with photos per second and time left; a line now and then where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from index_builder.pipeline import BuildProgress

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("photos", total=None, rate="")
        show = _lines() if not console.is_terminal else None

        def update(progress: BuildProgress) -> None:
            if show is not None:
                show(progress)
            rate = f"{progress.rate:.1f} photos/s, {progress.skipped} skipped"
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        yield update


def _lines(every_s: float = 10.0) -> Callable[[Any], None]:
    import time

    last = time.monotonic()

    def show(progress: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
            print(f"{progress.done} of {progress.total} photos, {progress.rate:.1f} per second{left}", file=sys.stderr)

    return show


def _print_report(report: BuildReport, *, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(report))
        return
    for skipped in report.skipped:
        print(f"skipped {_printable(skipped.path)}: {_printable(skipped.reason)}")
    print(
        f"{report.added} added, {report.changed} changed, {report.removed} removed, {report.unchanged} unchanged, "
        f"{len(report.skipped)} skipped; {report.photos} photos in version {report.version} "
        f"after {report.seconds:.1f} s"
    )


def _print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values))


def _printable(text: str) -> str:
    """One line, whatever a file is called."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
