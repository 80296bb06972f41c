"""Build, add, sync: photos -> decoded in parallel -> encoded in batches -> committed in batches.

Every batch is one commit, so the same command run again continues a build that was killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from index_builder.comparing.believing import Belief
from index_builder.comparing.difference import Difference
from index_builder.comparing.missing_photos import UnknownPlaces
from index_builder.gallery_errors import PhotosSkippedError
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildReport, OnProgress
from index_builder.ingest.dates import fill_dates
from index_builder.ingest.named_folders import named_folders
from index_builder.ingest.photo_names import outermost, spelled_on_disk
from index_builder.ingest.pipeline import read_all
from index_builder.ingest.reviewing import Review
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import Photos
from index_builder.scanning.passed_over import NAMED, Kind, Skipped
from index_builder.scanning.real_paths import known_path
from index_builder.scanning.scan import scan_folders
from index_builder.scanning.second_look import ListedFolders, look_again
from index_builder.store.gallery import Gallery
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.opening_writer import open_writer, starts_over
from index_builder.store.places import GalleryPlace, on_disk, place_of
from index_builder.store.writer import GalleryWriter

if TYPE_CHECKING:
    from model.networks.network import Network


def build_gallery(
    photos: Photos,
    gallery: str | GalleryPlace,
    network: Network,
    *,
    options: BuildOptions | None = None,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Add all photos of a folder to a gallery, which is made if it does not exist. Nothing is dropped.

    A build that was killed continues where it stopped.

    Args:
        photos: the folder, or several; ids depend on the paths below them, not on where they are.
        gallery: folder of the gallery.
        network: encodes the photos.
        options: how to work; None takes the defaults.
        progress: called after every batch, from this thread.

    Raises:
        GalleryError: see `index_builder.gallery_errors` for each kind.
    """
    return _whole_folder(place_of(gallery), photos, network, options, progress, drop=False)


def sync_gallery(
    gallery: str | GalleryPlace,
    network: Network,
    *,
    photos: Photos | None = None,
    options: BuildOptions | None = None,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Make a gallery match its folder: add, drop, and encode again what changed.

    Photos in a folder that cannot be read at the moment stay, and so do those of a folder that is not believed, see
    `index_builder.comparing.believing`; the report names them as held. Arguments are those of `build_gallery`; `photos`
    None takes the folders that the gallery remembers.
    """
    gallery = place_of(gallery)
    Gallery.open(gallery)
    return _whole_folder(gallery, photos, network, options, progress, drop=True)


def add_photos(
    gallery: str | GalleryPlace,
    photos: Photos,
    paths: Iterable[str | Path],
    network: Network,
    *,
    options: BuildOptions | None = None,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Add some files or folders of photos, or encode them again if they changed. Makes the gallery if there is none.

    Args:
        gallery: folder of the gallery.
        photos: the photos' folder, or several.
        paths: below them, absolute or as the gallery writes them.
        network, options, progress: as of `build_gallery`.

    Raises:
        GalleryError: a path is not below the photos or cannot be read, or its folder is away.
    """
    return _add(place_of(gallery), photos, list(paths), network, options=options or BuildOptions(), progress=progress)


@starts_over
def _add(
    gallery: GalleryPlace,
    photos: Photos,
    paths: list[str | Path],
    network: Network,
    *,
    options: BuildOptions,
    progress: OnProgress | None,
) -> BuildReport:
    folders, remembered = named_folders(gallery, photos)
    report, started = BuildReport(on_passed_over=options.on_passed_over), time.monotonic()
    spelled = {spelled_on_disk(folders, folders.relative(path)) for path in paths}
    below = outermost({known_path(folders, path, on_disk(gallery)) for path in spelled})
    belief = Belief(gallery, folders, remembered)
    belief.check_reachable(below)
    metadata = GalleryMetadata.of(network, folders)
    with (
        open_writer(gallery, metadata, before=remembered, wait_s=options.wait_s, moved=options.moved) as writer,
        Difference(
            known := writer.known(),
            check_contents=options.check_contents,
            is_gone=lambda path: belief.reaches(path) and is_gone(folders, path),
            lets_move=belief.lets_move,
        ) as difference,
    ):
        belief.know(lambda: (path.as_py() for path in known.paths))
        for path in below:
            difference.add(scan_folders(folders, report.pass_over, below=path, leave_out=on_disk(gallery)))
        read_all(writer, difference, folders, network, options, report=report, progress=progress, keep_ids=True)
        return finish(writer, report, started, options)


def remove_photos(gallery: str | GalleryPlace, photo_ids: Sequence[str], *, wait_s: float = 0.0) -> BuildReport:
    """Remove photos by id; their files stay. Unknown ids are passed over, and `removed` counts the others."""
    report, started = BuildReport(), time.monotonic()
    with open_writer(gallery, wait_s=wait_s) as writer:
        report.removed = writer.remove(list(photo_ids))
        return finish(writer, report, started, BuildOptions())


@starts_over
def _whole_folder(
    gallery: GalleryPlace,
    photos: Photos | None,
    network: Network,
    options: BuildOptions | None,
    progress: OnProgress | None,
    *,
    drop: bool,
) -> BuildReport:
    options = options or BuildOptions()
    report, started = BuildReport(on_passed_over=options.on_passed_over), time.monotonic()
    folders, remembered = named_folders(gallery, photos)
    belief = Belief(
        gallery,
        folders,
        remembered,
        most_lost=options.most_lost,
        accept_loss=options.accept_loss,
        moved=options.moved,
    )
    unknown = UnknownPlaces(folders)

    def pass_over(skipped: Skipped) -> None:
        report.pass_over(skipped)
        unknown.note(skipped)

    listed = ListedFolders()
    files = scan_folders(folders, pass_over, leave_out=on_disk(gallery), away=belief.away, listed=listed)
    again = partial(look_again, folders, listed, unknown.note, leave_out=on_disk(gallery), away=belief.away)
    first = next(files, None)  # fails before a gallery is made for something that is not a folder
    metadata = GalleryMetadata.of(network, folders)
    with (
        open_writer(gallery, metadata, before=remembered, wait_s=options.wait_s, moved=options.moved) as writer,
        Difference(
            known := writer.known(),
            check_contents=options.check_contents,
            is_gone=lambda _: True,
            lets_move=belief.lets_move,
        ) as difference,
    ):
        review = Review(difference, known, folders, unknown, belief, again=again)
        if first is not None:
            difference.add([first])
        difference.add(files)
        read_all(
            writer,
            difference,
            folders,
            network,
            options,
            report=report,
            progress=progress,
            keep_ids=False,
            review=review,
        )
        review.finish(writer, report, drop=drop)
        fill_dates(writer, folders, belief.reaches, workers=options.readers)
        return finish(writer, report, started, options)


def finish(writer: GalleryWriter, report: BuildReport, started: float, options: BuildOptions) -> BuildReport:
    """End a change, and write the rest of its report.

    Raises:
        PhotosSkippedError: the options are strict, and files were skipped.
    """
    writer.finish()
    report.version, report.photos, report.seconds = writer.version, len(writer), time.monotonic() - started
    if options.strict and (wrong := report.skipped.count(Kind.FAULT)):
        named = list(report.skipped.named(Kind.FAULT))
        shown = "; ".join(f"{path}: {reason}" for path, reason in named[:NAMED])
        more = "; ..." if wrong > min(len(named), NAMED) else ""
        raise PhotosSkippedError(
            f"{wrong} files were skipped ({shown}{more}); the others are in the gallery, mend "
            "or remove these and run the same command again"
        )
    return report
