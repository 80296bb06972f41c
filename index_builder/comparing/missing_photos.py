"""Photos that the gallery has and a scan did not find: gone, unwanted by a rule, or only out of sight at the moment."""

from __future__ import annotations

from collections.abc import Callable

from index_builder.comparing.believing import Belief, Judgement
from index_builder.comparing.difference import Difference
from index_builder.photo_files.sources import is_gone, source_of
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import shown_path
from index_builder.scanning.exclusions import Exclusions
from index_builder.scanning.passed_over import Skipped


class UnknownPlaces:
    """Files and folders that could not be looked at. What the gallery has of them may still be right.

    Args:
        folders: of the photos.
    """

    def __init__(self, folders: PhotoFolders) -> None:
        self._folders = folders
        self._paths: set[str] = set()

    def note(self, skipped: Skipped) -> None:
        """Remember a file or folder that was passed over, if it is unknown."""
        if skipped.unknown:
            self._paths.add(skipped.path)

    def hides(self, raw_path: bytes) -> bool:
        """Whether a photo, or a folder above it, could not be looked at.

        One that is not there by now, in a folder that is, went somewhere while it was looked at: it is missing.
        """
        if not self._paths:
            return False
        parts = raw_path.split(b"/")
        above = (b"/".join(parts[:end]) for end in range(len(parts) + 1))
        return any(shown_path(path) in self._paths and not self._went(path) for path in above)

    def _went(self, raw_path: bytes) -> bool:
        folder = raw_path.rpartition(b"/")[0]
        try:
            source, below = source_of(self._folders, folder)
            return is_gone(self._folders, raw_path) and source.is_folder(below)
        except FileNotFoundError:
            return False


def _missing_photos(
    difference: Difference, folders: PhotoFolders, unknown: UnknownPlaces, reaches: Callable[[bytes], bool]
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Photos that were not found and are not out of sight.

    A file that a rule excludes is unwanted only if it is there. Of one that is not, a rule says nothing: default rules
    hide what an ignore file brought back, and that file may have gone with its share.

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
        if unknown.hides(path):
            continue
        try:
            excluded = reaches(path) and not is_gone(folders, path) and exclusions.reason(path) is not None
        except OSError:  # an ignore file that cannot be read at the moment
            continue
        if excluded:
            unwanted.append(photo)
        else:
            gone.append((photo, path))
    return gone, unwanted


def judged_missing(
    difference: Difference, folders: PhotoFolders, unknown: UnknownPlaces, belief: Belief
) -> tuple[Judgement, list[str]]:
    """Which missing and changed photos are believed, and ids of those that a rule excludes now.

    Args:
        difference: of the scan, after new files were read: what moved is not missing.
        folders, unknown: where photos lie, and what could not be looked at.
        belief: judges the loss.
    """
    gone, unwanted = _missing_photos(difference, folders, unknown, belief.reaches)
    return belief.judge(gone, difference.changed()), unwanted
