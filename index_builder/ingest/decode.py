"""Reads and decodes one photo, as threads and processes do ahead of the network. It needs no torch."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest.skip_reasons import needed_extra, reason_of
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_files.sources import PhotoSource, source_of
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import NO_DATE, PhotoFile, shown_path
from index_builder.scanning.passed_over import Skipped
from model.config import PreprocessConfig
from model.errors import ImageError, ImageTooLargeError, SketchseekError
from model.images.date_taken import date_taken
from model.images.opening import ImageLimits, read_image
from model.images.preprocess import channels_first, photo_image

_PANIC = "PanicException"  # of decoders written in Rust; no Exception to Python


@dataclass(frozen=True)
class DecodedPhoto(PhotoFile):
    """A photo ready for the network.

    Attributes:
        pixels: [3, S, S] uint8; None if `is_known` said so.
    """

    pixels: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Failed:
    """A file that cannot become a photo.

    Attributes:
        raw_path: of the file.
        skipped: the same with the reason, for people.
        unknown: its content could not be read, so what the gallery has of it may still be right.
    """

    raw_path: bytes
    skipped: Skipped
    unknown: bool = False


def read_photo(
    folders: PhotoFolders,
    job: FileToRead,
    preprocess: PreprocessConfig,
    limits: ImageLimits | None = None,
    is_known: Callable[[bytes], bool] | None = None,
) -> DecodedPhoto | Failed:
    """Read, hash and decode one file. Whatever is wrong with it becomes `Failed`, never an exception.

    Args:
        folders: where the file lies.
        job: the file.
        preprocess: of the network.
        limits: of images.
        is_known: whether a content of this hash need not be decoded; None decodes all.
    """
    limits = limits or ImageLimits()
    try:
        source, below = source_of(folders, job.raw_path)
    except FileNotFoundError:
        return failed(job, "no folder of photos has the name that its path begins with", unknown=True)
    except SketchseekError as error:  # this machine lacks what the folder's kind of storage needs
        return failed(job, str(error), unknown=True)
    try:
        with limits.together.file(_bytes_to_read(source, below, job.size, limits.max_bytes)):
            return _read_photo(partial(_read, source, below, limits.max_bytes), job, preprocess, limits, is_known)
    except MemoryError:
        return failed(job, "not enough memory to read it at the moment", unknown=True)
    except BaseException as error:  # a decoder's defect must not stop a build of a million photos
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        return failed(job, f"cannot be decoded ({type(error).__name__})")


def _read_photo(
    read: Callable[[], tuple[bytes | None, FileStatus]],
    job: FileToRead,
    preprocess: PreprocessConfig,
    limits: ImageLimits,
    is_known: Callable[[bytes], bool] | None,
) -> DecodedPhoto | Failed:
    read_ns = time.time_ns()
    try:
        data, status = read()
    except OSError as error:
        # One that vanished since it was found, with its whole folder perhaps, is for the next comparison to judge.
        return failed(job, f"unreadable file: {error.strerror or error}", unknown=True)
    if data is None:
        return failed(job, "not a regular file")
    if max(status.size, len(data)) > limits.max_bytes:
        too_large = ImageTooLargeError(f"larger than the {limits.max_bytes} bytes allowed", "image_file_too_large")
        return failed(job, reason_of(too_large), unknown=True)
    if not data:
        return failed(job, "empty file")
    content_hash = hashlib.sha256(data).digest()
    width = height = 0
    incomplete, taken_ns = False, NO_DATE
    pixels = None
    if is_known is None or not is_known(content_hash):
        try:
            opened = read_image(data, limits, longest_side=preprocess.image_size)
            pixels = channels_first(photo_image(opened.image, preprocess))
        except ImageError as error:
            needed = needed_extra(data)
            return failed(job, needed or reason_of(error), unknown=needed is not None)
        width, height, incomplete = opened.width, opened.height, opened.incomplete
        taken_ns = taken_ns_of(io.BytesIO(data))
    return DecodedPhoto(
        *(job.raw_path, content_hash, len(data), status.modified_ns, read_ns, width, height, pixels),
        incomplete=incomplete,
        taken_ns=taken_ns,
    )


def taken_ns_of(file: BinaryIO) -> int:
    """When a photo was taken, as its file says (`model.images.date_taken`), or `NO_DATE`."""
    stated = date_taken(file)
    return NO_DATE if stated is None else stated


def _read(source: PhotoSource, below: bytes, most: int) -> tuple[bytes | None, FileStatus]:
    return source.read(below, most)


def _bytes_to_read(source: PhotoSource, below: bytes, listed: int, most: int) -> int:
    """Bytes that reading the file will take; 0 where it is none, which reading explains."""
    try:
        return min(source.size(below, listed), most)
    except OSError:
        return 0


def failed(job: FileToRead, reason: str, *, unknown: bool = False) -> Failed:
    """A file that was passed over, and why."""
    return Failed(job.raw_path, Skipped(shown_path(job.raw_path), reason, unknown=unknown), unknown)
