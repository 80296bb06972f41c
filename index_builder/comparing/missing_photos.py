"""Photos that the gallery has and a scan did not find: gone, unwanted by a rule, or only out of sight at the moment."""

from __future__ import annotations

from collections.abc import Callable

from index_builder.comparing.believing import Belief, Judgement
from index_builder.comparing.difference import Difference
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import shown_path
from index_builder.scanning.exclusions import Exclusions
from index_builder.scanning.passed_over import Skipped
from index_builder.store.rows import KnownPhotos


class UnknownPlaces:
    """Files and folders that could not be looked at. What the gallery has of them may still be right."""

    def __init__(self) -> None:
        self._paths: set[str] = set()

    def note(self, skipped: Skipped) -> None:
        """Remember a file or folder that was passed over, if it is unknown."""
        if skipped.unknown:
            self._paths.add(skipped.path)

    def hides(self, raw_path: bytes) -> bool:
        """Whether a photo, or a folder above it, could not be looked at."""
        if not self._paths:
            return False
        path = shown_path(raw_path)
        ends = [place for place, character in enumerate(path) if character == "/"]
        return bool({"", path, *(path[:end] for end in ends)} & self._paths)


def _missing_photos(
    difference: Difference, folders: PhotoFolders, unknown: UnknownPlaces, reaches: Callable[[bytes], bool]
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Photos that were not found and are not out of sight.

    Args:
        difference: of the scan.
        folders: of the photos.
        unknown: what could not be looked at.
        reaches: whether the place of a photo is there and is the one meant. Ignore files elsewhere mean nothing.

    Returns:
        Ids and paths of those whose files are gone, and ids of those whose files a rule excludes now: these are not
        lost, they are unwanted.
    """
    exclusions = Exclusions(folders)
    gone, unwanted = list[tuple[str, bytes]](), list[str]()
    for photo, path in difference.missing():
        if reaches(path) and exclusions.reason(path) is not None:
            unwanted.append(photo)
        elif not unknown.hides(path):
            gone.append((photo, path))
    return gone, unwanted


def judged_missing(
    difference: Difference, known: KnownPhotos, folders: PhotoFolders, unknown: UnknownPlaces, belief: Belief
) -> tuple[Judgement, list[str]]:
    """Which missing photos are believed to be gone, and ids of those that a rule excludes now.

    Args:
        difference: of the scan, after new files were read: what moved is not missing.
        known: what the gallery had before.
        folders, unknown: where photos lie, and what could not be looked at.
        belief: judges the loss.
    """
    gone, unwanted = _missing_photos(difference, folders, unknown, belief.reaches)
    judged = belief.judge(
        gone,
        known=lambda: (path.as_py() for path in known.paths),
        found=lambda: (job.raw_path for job in difference.new),
    )
    return judged, unwanted
