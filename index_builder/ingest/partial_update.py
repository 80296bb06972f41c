"""Brings a gallery in line with a part of its folders: what an event or a rescan named, instead of every file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from index_builder.comparing.believing import Belief
from index_builder.comparing.difference import Difference
from index_builder.comparing.missing_photos import UnknownPlaces
from index_builder.gallery_errors import GalleryError
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildReport, OnProgress
from index_builder.ingest.changes import finish
from index_builder.ingest.named_folders import named_folders
from index_builder.ingest.pipeline import read_all
from index_builder.ingest.reviewing import NotBelievedError, Review
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.photo_record import shown_path
from index_builder.scanning.found_files import FoundFile
from index_builder.scanning.passed_over import Skipped
from index_builder.scanning.scan import scan_folders
from index_builder.scanning.scope import Scope
from index_builder.store.gallery import Gallery
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.opening_writer import open_writer, starts_over
from index_builder.store.places import GalleryPlace, on_disk, place_of

if TYPE_CHECKING:
    from model.networks.network import Network


@starts_over
def update_gallery(
    gallery: str | GalleryPlace,
    network: Network,
    scope: Scope,
    *,
    photos: Photos | None = None,
    options: BuildOptions | None = None,
    progress: OnProgress | None = None,
) -> BuildReport | None:
    """As `index_builder.sync_gallery`, but looks only at what `scope` names. The report counts nothing else.

    Returns:
        None where the part does not tell enough: its folder is not believed. Nothing was dropped or replaced then, and
        a look at everything decides.

    Raises:
        GalleryError: see `index_builder.gallery_errors` for each kind.
    """
    gallery, options = place_of(gallery), options or BuildOptions()
    Gallery.open(gallery)
    report, started = BuildReport(on_passed_over=options.on_passed_over), time.monotonic()
    folders, remembered = named_folders(gallery, photos)
    belief = Belief(gallery, folders, remembered, most_lost=options.most_lost)
    unknown = UnknownPlaces(folders)

    def pass_over(skipped: Skipped) -> None:
        report.pass_over(skipped)
        unknown.note(skipped)

    def gone_for_sure(raw_path: bytes) -> bool:
        return belief.reaches(raw_path) and is_gone(folders, raw_path)

    with (
        open_writer(gallery, GalleryMetadata.of(network, folders), before=remembered, wait_s=options.wait_s) as writer,
        Difference(known := writer.known(), is_gone=gone_for_sure, lets_move=belief.lets_move) as difference,
    ):
        review = Review(difference, known, folders, unknown, belief, whole=False)
        difference.leave_alone(lambda path: not scope.covers(path))
        scan = partial(scan_folders, folders, pass_over, deep=False, leave_out=on_disk(gallery), away=belief.away)
        difference.add(_found(scope, folders, belief, pass_over, scan))
        try:
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
        except NotBelievedError:
            return None
        review.finish(writer, report, drop=True)
        return finish(writer, report, started, options)


def _found(
    scope: Scope,
    folders: PhotoFolders,
    belief: Belief,
    pass_over: Callable[[Skipped], None],
    scan: Callable[..., Iterator[FoundFile]],
) -> Iterator[FoundFile]:
    """The files that a scope names and that are there, each once. Nothing of a place that is away."""
    seen = set[bytes]()
    for raw_path in [*sorted(scope.folders), *sorted(scope.files - scope.folders)]:
        if not belief.reaches(raw_path + b"/"):
            continue
        try:
            os.stat(folders.absolute(raw_path))  # noqa: PTH116 - bytes
            for file in scan(below=raw_path) if raw_path not in seen else ():
                if file.raw_path not in seen:
                    seen.add(file.raw_path)
                    yield file
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone, for the caller to find missing
        except (OSError, GalleryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it vanished while it was looked at"
            pass_over(Skipped(shown_path(raw_path), f"unreadable file: {reason}", unknown=True))
