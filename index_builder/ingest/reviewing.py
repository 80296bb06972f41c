"""What is believed of a change, between reading what is there and writing what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from index_builder.comparing.believing import Belief
from index_builder.comparing.difference import Difference
from index_builder.comparing.missing_photos import UnknownPlaces, judged_missing
from index_builder.ingest.build_report import BuildReport
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.found_files import FoundFile
from index_builder.store.folder_looks import Held
from index_builder.store.rows import KnownPhotos
from index_builder.store.writer import GalleryWriter


class NotBelievedError(Exception):
    """A part of the folders does not tell enough: a look at everything decides."""


class Review:
    """Judges missing and changed photos once moves are known, and removes those that are gone at the end.

    Args:
        difference, known: what is there, and what the gallery had.
        folders, unknown, belief: where photos lie, what could not be looked at, and what to believe.
        again: files of folders that changed while they were listed; None if no second look is made.
        whole: whether everything was looked at. A part is given up where anything is held.
    """

    def __init__(
        self,
        difference: Difference,
        known: KnownPhotos,
        folders: PhotoFolders,
        unknown: UnknownPlaces,
        belief: Belief,
        *,
        again: Callable[[], Iterator[FoundFile]] | None = None,
        whole: bool = True,
    ) -> None:
        self._difference, self._folders, self._unknown, self._belief = difference, folders, unknown, belief
        self._again, self._whole = again, whole
        self._gone, self._unwanted = list[str](), list[str]()
        self._held: tuple[Held, ...] = ()
        belief.know(lambda: (path.as_py() for path in known.paths))

    def before_reading(self) -> None:
        """Look again where a photo may have moved behind the scan's back, and spare what could not be looked for."""
        if self._again is not None and self._difference.any_missing():
            self._difference.add_again(self._again())
        self._difference.spare(lambda path: self._unknown.hides(path) or not self._belief.reaches(path))

    def before_moves(self) -> None:
        """The files with other contents are known, and no photo has moved yet."""
        self._belief.shake(self._difference.changed())

    def judge(self) -> frozenset[bytes]:
        """Moves are known, and nothing that may be a loss is written yet.

        Returns:
            paths whose files must not replace their photos.

        Raises:
            NotBelievedError: only a part was looked at, and some of it is not believed.
        """
        judged, self._unwanted = judged_missing(self._difference, self._folders, self._unknown, self._belief)
        if judged.held and not self._whole:
            raise NotBelievedError
        self._gone, self._held = judged.gone, judged.held
        self._difference.keep(judged.kept)
        return judged.kept

    def finish(self, writer: GalleryWriter, report: BuildReport, *, drop: bool) -> None:
        """Everything else is written: remove what is gone, if that is wanted, and note what is held."""
        report.held = self._held
        if drop:
            report.removed += writer.remove([*self._gone_for_sure(), *self._unwanted])
        if self._whole:  # a part does not tell what the whole looks like
            self._belief.write()

    def _gone_for_sure(self) -> list[str]:
        """Photos that are gone and cannot be among files that came while this change went on: the next one tells."""
        if not self._gone or self._again is None:
            return self._gone
        sizes = np.array([file.size for file in self._difference.unseen(self._again())], np.int64)
        late = self._difference.missing_of(np.unique(sizes))
        return [photo for photo in self._gone if photo not in late]
