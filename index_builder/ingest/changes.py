"""Build, add, sync: photos -> decoded in parallel -> encoded in batches -> committed in batches.

Every batch is one commit, so the same command run again continues a build that was killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from index_builder.comparing.believing import Belief
from index_builder.comparing.difference import Difference
from index_builder.comparing.missing_photos import UnknownPlaces, judged_missing
from index_builder.gallery_errors import GalleryNotFoundError, PhotosSkippedError
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildReport, OnProgress
from index_builder.ingest.dates import fill_dates
from index_builder.ingest.photo_names import outermost, spelled_on_disk
from index_builder.ingest.pipeline import read_all
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.scanning.exclusions import user_patterns
from index_builder.scanning.passed_over import NAMED, Kind, Skipped
from index_builder.scanning.real_paths import known_path
from index_builder.scanning.scan import scan_folders
from index_builder.store.gallery import Gallery
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.writer import GalleryWriter, open_writer

if TYPE_CHECKING:
    from model.networks.network import Network


def build_gallery(
    photos: Photos,
    gallery: str | Path,
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
    return _whole_folder(Path(gallery), photos, network, options, progress, drop=False)


def sync_gallery(
    gallery: str | Path,
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
    gallery = Path(gallery)
    Gallery.open(gallery)
    return _whole_folder(gallery, photos, network, options, progress, drop=True)


def add_photos(
    gallery: str | Path,
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
    gallery, options = Path(gallery), options or BuildOptions()
    folders, remembered = named_folders(gallery, photos)
    report, started = BuildReport(on_passed_over=options.on_passed_over), time.monotonic()
    spelled = {spelled_on_disk(folders, folders.relative(path)) for path in paths}
    below = outermost({known_path(folders, path, gallery) for path in spelled})
    belief = Belief(gallery, folders, remembered)
    belief.check_reachable(below)
    metadata = GalleryMetadata.of(network, folders)
    with (
        open_writer(gallery, metadata, wait_s=options.wait_s, moved=options.moved) as writer,
        Difference(
            writer.known(),
            check_contents=options.check_contents,
            is_gone=lambda path: belief.reaches(path) and is_gone(folders, path),
        ) as difference,
    ):
        for path in below:
            difference.add(scan_folders(folders, report.pass_over, below=path, leave_out=gallery))
        read_all(writer, difference, folders, network, options, report=report, progress=progress, keep_ids=True)
        return finish(writer, report, started, options)


def remove_photos(gallery: str | Path, photo_ids: Sequence[str], *, wait_s: float = 0.0) -> BuildReport:
    """Remove photos by id; their files stay. Unknown ids are passed over, and `removed` counts the others."""
    report, started = BuildReport(), time.monotonic()
    with open_writer(gallery, wait_s=wait_s) as writer:
        report.removed = writer.remove(list(photo_ids))
        return finish(writer, report, started, BuildOptions())


def chosen_folders(
    gallery: str | Path,
    photos: Photos | None,
    *,
    exclude: tuple[str, ...] | None = None,
    links_to: tuple[Path, ...] | None = None,
) -> PhotoFolders:
    """The folders that were named, with what the gallery remembers where nothing was said.

    Args:
        gallery: its folder; it need not exist.
        photos: None takes what the gallery remembers.
        exclude: patterns that replace those of `photos`; None keeps them.
        links_to: folders elsewhere that links may lead to, instead of those of `photos`; None keeps them.

    Raises:
        GalleryError: neither photos nor a gallery, or a pattern is none.
    """
    folders, _ = named_folders(Path(gallery), photos)
    if links_to is not None:
        folders = replace(folders, links_to=links_to)
    if exclude is None:
        return folders
    user_patterns(exclude)
    return replace(folders, exclude=exclude)


def named_folders(gallery: Path, photos: Photos | None) -> tuple[PhotoFolders, PhotoFolders | None]:
    """The folders that were named, with what the gallery remembers where nothing was said; and what it remembers."""
    try:
        opened = Gallery.open(gallery)
        remembered = opened.metadata(opened.dataset()).folders
    except GalleryNotFoundError:
        if photos is None:
            raise
        remembered = None
    folders = PhotoFolders.of(photos).over(remembered) if photos is not None else remembered
    assert folders is not None  # noqa: S101 - or the exception was raised again
    user_patterns(folders.exclude or ())
    return folders, remembered


def _whole_folder(
    gallery: Path,
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
    unknown = UnknownPlaces()

    def pass_over(skipped: Skipped) -> None:
        report.pass_over(skipped)
        unknown.note(skipped)

    files = scan_folders(folders, pass_over, leave_out=gallery, away=belief.away)
    first = next(files, None)  # fails before a gallery is made for something that is not a folder
    metadata = GalleryMetadata.of(network, folders)
    with (
        open_writer(gallery, metadata, wait_s=options.wait_s, moved=options.moved) as writer,
        Difference(
            known := writer.known(), check_contents=options.check_contents, is_gone=lambda _: True
        ) as difference,
    ):
        if first is not None:
            difference.add([first])
        difference.add(files)
        difference.spare(lambda path: unknown.hides(path) or not belief.reaches(path))
        read_all(writer, difference, folders, network, options, report=report, progress=progress, keep_ids=False)
        # Only now: what was missing may have been found at another path.
        judged, unwanted = judged_missing(difference, known, folders, unknown, belief)
        report.held = judged.held
        if drop:
            report.removed += writer.remove([*judged.gone, *unwanted])
        fill_dates(writer, folders, belief.reaches, workers=options.readers)
        belief.write()
        return finish(writer, report, started, options)


def is_gone(folders: PhotoFolders, raw_path: bytes) -> bool:
    """Whether there is no file of this path, as far as anybody can tell."""
    try:
        os.lstat(folders.absolute(raw_path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


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
