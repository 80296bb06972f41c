"""The gallery on disk or in a bucket: its versions, and how one of them is opened.

A gallery is a folder:

    gallery.json                which dataset is current, and which gallery this is; replaced by one rename
    photos-G.lance/             a Lance dataset, one row per photo, one version per commit (generation G)
    photos-G.checksums.json     checksums of that dataset's files
    recall/                     search indices derived from descriptors; may be deleted at any time
    writer.lock                 empty; locked by whoever writes. In a bucket, it names who writes
    recall.lock                 empty; locked by whoever stores a search index

In a bucket, `recall/` and its lock lie on the local disk of each machine (`recall_folder`).

A rebuild for another checkpoint makes generation G + 1 beside the old one and switches `gallery.json` when it is whole.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from index_builder.gallery_errors import (
    GalleryDamagedError,
    GalleryMismatchError,
    GalleryNotFoundError,
    GalleryVersionGoneError,
)
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.photo_folders import PhotoFolders
from index_builder.store.checksums import TAIL, Ledger, file_sum, read_tagged_json, tail_sum
from index_builder.store.layout import (
    POINTER,
    away,
    dataset_path,
    lance_errors,
    latest_commit,
    ledger_path,
    manifest_name,
    referenced_files,
)
from index_builder.store.metadata import FORMAT, METADATA_KEY, GalleryMetadata
from index_builder.store.places import GalleryPlace, Replaces, files_below, place_of
from index_builder.store.processor import check_processor

_CHECKS_AT_ONCE = 16  # files of a bucket whose ends are read at the same time


class Gallery:
    """The current generation of a gallery on disk, for reading.

    Attributes:
        path: of its folder.
        generation: which dataset is current.
        format: that it was last written in.
        identity: which gallery it is. A copy has the same. One that only earlier releases wrote to goes by its place.
        pointer: what a write of its pointer may replace, as of `places.replace_file`.
    """

    def __init__(
        self,
        path: GalleryPlace,
        generation: int,
        written_as: int = FORMAT,
        *,
        identity: str | None = None,
        pointer: Replaces = "anything",
    ) -> None:
        self.path = path
        self.generation = generation
        self.format = written_as
        self.has_identity = identity is not None
        self.identity = identity or str(path.absolute())
        self.pointer = pointer

    @staticmethod
    def open(path: str | GalleryPlace) -> Gallery:
        """The gallery at `path`, whatever checkpoint it was built with.

        Raises:
            GalleryNotFoundError: no gallery there.
            GalleryAwayError: the object storage does not answer.
            GalleryDamagedError: its pointer is damaged.
            GalleryMismatchError: written by a later version of Sketchseek.
        """
        path = place_of(path)
        try:
            values, pointer = read_tagged_json(path / POINTER)
            generation, written_as = int(values["generation"]), int(values["format"])
            identity = values.get("identity")
        except OSError as error:
            if isinstance(path, BucketPath) and not isinstance(error, FileNotFoundError):
                raise away(path, error) from error
            raise GalleryNotFoundError(
                f"there is no gallery at {path}; build one with `sketchseek gallery build PHOTOS --gallery {path}`"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GalleryDamagedError(
                f"{POINTER} of the gallery {path} is damaged; restore it from a backup, or move the gallery away and "
                "build it again",
                [POINTER],
            ) from error
        if written_as > FORMAT:
            raise GalleryMismatchError(
                f"the gallery {path} was written by a later version of Sketchseek; update Sketchseek, or build it again"
            )
        identity = identity if isinstance(identity, str) else None
        return Gallery(path, generation, written_as, identity=identity, pointer=pointer)

    @property
    def dataset_path(self) -> GalleryPlace:
        """The current Lance dataset."""
        return dataset_path(self.path, self.generation)

    @property
    def ledger_path(self) -> GalleryPlace:
        """The checksums of its files."""
        return ledger_path(self.path, self.generation)

    @property
    def version(self) -> str:
        """The latest version, as `GENERATION.COMMIT`; costs one listing of a folder. Raises as `latest_commit`."""
        return f"{self.generation}.{latest_commit(self.dataset_path)}"

    def dataset(self, commit: int | None = None) -> Any:
        """The Lance dataset of one commit (None: the latest), after the cheap checks.

        Every opening checks the checksum of the manifest, and the size and last 128 kB of every file it names. Only
        `verify` checks the rest of large files.

        Raises:
            GalleryDamagedError: naming the files.
            GalleryVersionGoneError: this commit was cleaned up.
            GalleryAwayError: the object storage does not answer.
            ProcessorError: Lance cannot run here.
        """
        check_processor()
        commit = latest_commit(self.dataset_path) if commit is None else commit
        ledger = Ledger.read(self.ledger_path)
        manifest = manifest_name(commit)
        try:
            actual = file_sum(self.dataset_path / manifest)
        except OSError as error:
            if isinstance(self.path, BucketPath) and not isinstance(error, FileNotFoundError):
                raise away(self.path, error) from error
            raise self._gone(commit) from error
        if actual != ledger.files.get(manifest, actual):
            raise self._damaged([manifest])
        with lance_errors(f"cannot open the gallery {self.path}"):
            import lance

            dataset = lance.dataset(str(self.dataset_path), version=commit)
            bad = self._cut_short(referenced_files(dataset), ledger)
        if bad:
            raise self._damaged(bad)
        return dataset

    def metadata(self, dataset: Any) -> GalleryMetadata:
        """What the gallery is bound to, of an opened dataset.

        Raises:
            GalleryDamagedError: it cannot be read.
        """
        try:
            with lance_errors(f"cannot read the columns of the gallery {self.path}"):
                fields = dataset.schema.metadata
            return GalleryMetadata.from_json(fields[METADATA_KEY])
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryDamagedError(
                f"the metadata of the gallery {self.path} cannot be read; build the gallery again",
                [self.dataset_path.name],
            ) from error

    @staticmethod
    def folders_of(path: str | GalleryPlace, said: PhotoFolders | None = None) -> PhotoFolders:
        """Which photos belong to the gallery at `path` now.

        Args:
            path: folder of the gallery.
            said: what somebody says of its photos; what that leaves out is what the gallery remembers.

        Raises:
            GalleryError: there is no gallery, it cannot be read, or what was said is impossible.
        """
        opened = Gallery.open(path)
        remembered = opened.metadata(opened.dataset()).folders
        return remembered if said is None else said.over(remembered)

    def _cut_short(self, names: list[str], ledger: Ledger) -> list[str]:
        """Those of the files that are not what was written, as far as sizes and ends tell."""
        if not isinstance(self.path, BucketPath):
            return [name for name in names if not self._is_whole(name, ledger)]
        same = {found.name for found in files_below(self.dataset_path) if ledger.is_same(found)}
        left = [name for name in names if name not in same]
        with ThreadPoolExecutor(_CHECKS_AT_ONCE) as threads:
            whole = list(threads.map(lambda name: self._is_whole(name, ledger), left))
        return [name for name, is_whole in zip(left, whole, strict=True) if not is_whole]

    def _is_whole(self, name: str, ledger: Ledger) -> bool:
        file, expected = self.dataset_path / name, ledger.files.get(name)
        try:
            if expected is None or file.stat().st_size != expected.size:
                return expected is None and file.exists()
            if not expected.tail:  # an earlier release recorded none: check small files as a whole
                return expected.size > TAIL or file_sum(file) == expected
            return tail_sum(file) == expected.tail
        except OSError as error:
            if isinstance(file, BucketPath) and not isinstance(error, FileNotFoundError):
                raise away(self.path, error) from error
            return False

    def _damaged(self, names: list[str]) -> GalleryDamagedError:
        full = [f"{self.dataset_path.name}/{name}" for name in names]
        return GalleryDamagedError(
            f"the gallery {self.path} is damaged in {', '.join(full)}; restore the file from a backup, or move the "
            "gallery away and build it again",
            full,
        )

    def _gone(self, commit: int) -> GalleryVersionGoneError:
        return GalleryVersionGoneError(
            f"version {self.generation}.{commit} of the gallery {self.path} is gone; open the latest one"
        )


def latest_version(gallery: str | GalleryPlace) -> str:
    """The latest version of a gallery, for polling: one small file read, one folder listed.

    Raises:
        GalleryNotFoundError: no gallery there.
        GalleryAwayError: the object storage does not answer.
        GalleryDamagedError: its pointer or its dataset is.
    """
    return Gallery.open(gallery).version
