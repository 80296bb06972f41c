"""Checks that a gallery is whole: files by checksum, values of rows, the recall cache, and a sample of photos."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from index_builder.comparing.files_to_read import FileToRead
from index_builder.gallery_errors import GalleryError
from index_builder.index.cache_note import Note, OtherFormatError
from index_builder.index.recall_cache import FOLDER
from index_builder.ingest.decode import Failed, read_photo
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.photo_record import composed_tags, is_photo_id, shown_path, tags_of
from index_builder.store.checksums import HINT, FileSum, Ledger, file_sum
from index_builder.store.folder_looks import NAME as LOOKS
from index_builder.store.folder_looks import FolderLooks
from index_builder.store.gallery import Gallery
from index_builder.store.layout import latest_commit, manifest_name, reached, referenced_files
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.places import GalleryPlace, files_below, on_disk
from index_builder.store.quantise import parts_of
from index_builder.store.token_reader import fixed_size, records_of
from model.config import PreprocessConfig
from model.images.limits import ImageLimits
from model.whole_file import leftovers

_BATCH_ROWS = 1024
_LONGEST = 1.01  # networks in half precision miss length 1 by this much; descriptors of familiar photos are shorter
_SHORTEST = 1e-3
_MOST_PER_KIND = 20  # problems listed per batch; one damaged file could affect thousands of rows


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a gallery.

    Attributes:
        where: a file of the gallery, or a photo's path.
        what: what is wrong, and what to do.
    """

    where: str
    what: str


@dataclass
class VerifyReport:
    """What verifying found.

    Attributes:
        version: that was looked at; "" if none could be opened.
        photos: rows read, files: checksums compared, decoded: photos of the sample that decoded.
        incomplete: paths of those whose files end early.
        problems: empty if the gallery is whole.
        notes: leftovers of killed writers and the like, which need no repair.
    """

    version: str = ""
    photos: int = 0
    files: int = 0
    decoded: int = 0
    incomplete: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems


def verify_gallery(
    gallery: str | GalleryPlace,
    *,
    photos: Photos | None = None,
    sample: int = 32,
    seed: int | None = None,
    limits: ImageLimits | None = None,
) -> VerifyReport:
    """Check the latest version of a gallery. Reads all of it once and changes nothing.

    Args:
        gallery: its folder.
        photos: where the photos are now; None takes what the gallery remembers.
        sample: photos to read and decode again; 0 leaves the photos alone.
        seed: for choosing the sample.
        limits: what a photo of the sample may cost; None takes the defaults.

    Raises:
        GalleryNotFoundError: no gallery there.
        GalleryAwayError: the object storage does not answer.
    """
    report = VerifyReport()
    try:
        opened = Gallery.open(gallery)
    except GalleryError as error:
        if getattr(error, "files", None) is None:
            raise
        report.problems += [Problem(name, str(error)) for name in getattr(error, "files", ())]
        return report
    sound = _check_files(opened, report)
    if (folder := on_disk(opened.path)) is not None:
        report.notes += [
            f"{path.name} is a leftover; the next command that writes removes it" for path in leftovers(folder)
        ]
        _check_recall(folder, report)
    if FolderLooks.is_damaged(opened.path):
        report.problems.append(Problem(LOOKS, "is damaged; the next `sketchseek gallery sync` writes it again"))
    try:
        dataset = opened.dataset()
        metadata = opened.metadata(dataset)
    except GalleryError as error:
        named = {problem.where for problem in report.problems}
        files = getattr(error, "files", ()) or (opened.dataset_path.name,)
        report.problems += [Problem(name, str(error)) for name in files if name not in named]
        return report
    report.version = f"{opened.generation}.{dataset.version}"
    if sound:  # rows of damaged files would only repeat the finding, or crash the reader
        paths = _check_rows(opened, dataset, metadata, report)
        folders = metadata.folders if photos is None else PhotoFolders.of(photos).over(metadata.folders)
        chosen = random.Random(seed).sample(paths, min(sample, len(paths)))
        _check_photos(folders, chosen, limits, report)
    return report


def _check_files(opened: Gallery, report: VerifyReport) -> bool:
    """Compare every file with its checksum. Returns whether those of the latest version are sound."""
    place = opened.dataset_path
    try:
        ledger = Ledger.read(opened.ledger_path)
        commit = latest_commit(place)
    except GalleryError as error:
        report.problems += [Problem(name, str(error)) for name in getattr(error, "files", ())]
        return False
    before = len(report.problems)
    with reached(place):
        present = {found.name for found in files_below(place)}
    for name in sorted(present & ledger.files.keys()):
        report.files += 1
        what = _difference(place / name, ledger.files[name])
        # The file that names the latest version is written after the commit: a kill in between leaves it one behind.
        if what is not None and not (name == HINT and ledger.version != commit):
            report.problems.append(Problem(f"{place.name}/{name}", what))
    needed = {manifest_name(commit)}
    if len(report.problems) == before:
        try:
            needed |= set(referenced_files(opened.dataset()))
        except GalleryError as error:
            report.problems += [Problem(name, str(error)) for name in getattr(error, "files", ()) or (place.name,)]
    for name in sorted(needed - present):
        report.problems.append(Problem(f"{place.name}/{name}", "is missing; restore it from a backup"))
    for name in sorted(present - ledger.files.keys()):
        where = f"{place.name}/{name}"
        if name not in needed:
            report.notes.append(f"{where} belongs to no version; the next command that writes removes it")
        elif ledger.version == commit:
            report.problems.append(Problem(where, "has no checksum; move the gallery away and build it again"))
        else:
            report.notes.append(f"{where} was committed just before a writer was killed, without a checksum")
    return len(report.problems) == before


def _difference(path: GalleryPlace, expected: FileSum) -> str | None:
    """What is wrong with a file, or None."""
    try:
        actual = file_sum(path)
    except OSError as error:
        return f"is unreadable: {error.strerror}"
    if actual.size != expected.size:
        return f"has {actual.size} bytes instead of {expected.size}; restore it from a backup"
    return None if actual == expected else "is not what was written; restore it from a backup"


def _check_recall(gallery: Path, report: VerifyReport) -> None:
    folder = gallery / FOLDER
    if not folder.is_dir():
        return
    named = set()
    for path in sorted(folder.glob("*.json")):
        try:
            note = Note.read(path)
        except (OSError, ValueError) as error:
            where = f"{FOLDER}/{path.name}"
            if isinstance(error, OtherFormatError):
                report.notes.append(f"{where} is of another release; it is made again where it is needed")
            else:
                report.problems.append(Problem(where, "is damaged; the next start makes it again"))
            named |= {other.name for other in folder.glob(f"{path.stem}-*")}
            continue
        named |= note.files.keys()
        for name, checksum in note.files.items():
            report.files += 1
            if not (folder / name).exists() or file_sum(folder / name).sha256 != checksum:
                report.problems.append(Problem(f"{FOLDER}/{name}", "is damaged; the next start makes it again"))
    for path in sorted(folder.iterdir()):
        if path.suffix != ".json" and path.name not in named:
            report.notes.append(f"{FOLDER}/{path.name} is a leftover; it goes when the next index is kept")


def _check_rows(opened: Gallery, dataset: Any, metadata: GalleryMetadata, report: VerifyReport) -> list[bytes]:
    """Read every row; paths of all photos."""
    ids: set[str] = set()
    paths: list[bytes] = []
    try:
        for batch in dataset.to_batches(batch_size=_BATCH_ROWS):
            report.problems += list(_row_problems(pa.table(batch), metadata, ids))[:_MOST_PER_KIND]
            paths += batch.column("path").to_pylist()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        what = f"rows cannot be read ({str(error).splitlines()[0][:200]}); restore the gallery from a backup"
        report.problems.append(Problem(opened.dataset_path.name, what))
    report.photos = len(paths)
    if len(set(paths)) != len(paths):
        report.problems.append(Problem(opened.dataset_path.name, "a path appears in two rows; build the gallery again"))
    return paths


def _row_problems(table: pa.Table, metadata: GalleryMetadata, ids: set[str]) -> Iterator[Problem]:
    values = {name: table.column(name).to_pylist() for name in ("photo_id", "path", "tags")}
    descriptor = fixed_size(table, "descriptor")
    records = torch.from_numpy(records_of(table.column("tokens"), metadata.shape))
    _, scales, positions = (part.numpy() for part in parts_of(records, metadata.shape))
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.sqrt(np.square(descriptor).sum(axis=1, keepdims=True))
        sane = np.concatenate(
            [(length > _SHORTEST) & (length < _LONGEST), np.isfinite(scales), scales >= 0, scales[:, :1] > 0,
             positions < metadata.grid**2], axis=1
        )  # fmt: skip
    for row, (name, path, tags) in enumerate(zip(*values.values(), strict=True)):
        where = shown_path(path)
        if not is_photo_id(name) or composed_tags(tags) != tags_of(path):
            yield Problem(where, "its id is none, or its tags do not follow from its path; build the gallery again")
        if name in ids:
            yield Problem(where, "its id appears in two rows; build the gallery again")
        ids.add(name)
        if not sane[row].all():
            yield Problem(where, "its descriptor or tokens have impossible values; remove the photo and add it again")


def _check_photos(folders: PhotoFolders, paths: list[bytes], limits: ImageLimits | None, report: VerifyReport) -> None:
    """Read some photos again: a gallery whose photos are gone cannot show its results."""
    for path in paths:
        result = read_photo(folders, FileToRead(path), PreprocessConfig(), limits)
        if isinstance(result, Failed):
            what = f"{result.skipped.reason}; restore the photo, or run `sketchseek gallery sync`"
            report.problems.append(Problem(shown_path(path), what))
        else:
            report.decoded += 1
            if result.incomplete:
                report.incomplete.append(shown_path(path))
