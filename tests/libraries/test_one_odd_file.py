"""Nothing in one file stops a build: whatever goes wrong with it, it is skipped with a reason, and the others go in."""

from __future__ import annotations

import errno
import os
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from index_builder import Gallery, GallerySnapshot, build_gallery, sync_gallery, verify_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.gallery_errors import GalleryError, GalleryWriteError
from index_builder.ingest import decode
from index_builder.ingest.build_options import BuildOptions
from index_builder.photo_folders import PhotoFolders
from index_builder.store import checked_commit, rows
from model.images import opening
from model.images.preprocess import normalised
from tests.index_builder.conftest import tiny_network
from tests.index_builder.pictures import write_photo

OPTIONS = BuildOptions(batch_size=4, commit_photos=4, workers=1)
DEFECTS = [
    RuntimeError("a decoder's defect"),
    OverflowError("a number beyond all bounds"),
    RecursionError("a picture in a picture"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    type("PanicException", (BaseException,), {})("a decoder in Rust panicked"),
]
NETWORK_SHARES = [
    errno.ESTALE,
    errno.EIO,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EACCES,
    errno.ENOENT,
    errno.ENAMETOOLONG,
]


def paths_of(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return sorted(snapshot.photo(row).path for row in range(len(snapshot)))


def reasons(report):
    return dict(report.skipped.named())


@pytest.fixture
def photos(tmp_path):
    for number in range(11):
        write_photo(tmp_path / "photos" / f"{number:02}.jpg", seed=number)
    return tmp_path / "photos"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: type(one).__name__)
def test_a_decoder_that_fails_costs_one_photo(photos, tmp_path, network, monkeypatch, defect):
    real = opening.read_image
    odd = (photos / "05.jpg").read_bytes()

    def read_image(data, *arguments, **named):
        if data == odd:
            raise defect
        return real(data, *arguments, **named)

    monkeypatch.setattr(decode, "read_image", read_image)
    report = build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    assert report.added == 10
    assert list(reasons(report)) == ["05.jpg"]


@pytest.mark.parametrize("number", NETWORK_SHARES, ids=errno.errorcode.get)
def test_what_a_share_answers_costs_one_photo_and_keeps_what_is_known(photos, tmp_path, network, monkeypatch, number):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    os.utime(photos / "05.jpg", ns=(5, 5))
    write_photo(photos / "new.jpg", seed=50)
    real = os.open

    def fails(place, *arguments, **named):
        if os.fsencode(place).endswith((b"05.jpg", b"new.jpg")):
            raise OSError(number, os.strerror(number))
        return real(place, *arguments, **named)

    monkeypatch.setattr(os, "open", fails)
    report = sync_gallery(tmp_path / "g", network, options=OPTIONS)
    assert set(reasons(report)) == {"05.jpg", "new.jpg"}
    assert os.strerror(number) in reasons(report)["05.jpg"]
    assert report.removed == 0
    assert len(paths_of(tmp_path / "g", network)) == 11


def test_a_file_that_vanished_with_its_folder_is_left_to_the_next_comparison(photos, tmp_path, network, monkeypatch):
    """A share that is lost between the listing and the reading must not take its photos along."""
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    real = decode._read

    def lost(source, below, most):
        return real(source, below + b"-lost", most)

    monkeypatch.setattr(decode, "_read", lost)
    report = sync_gallery(tmp_path / "g", network, options=replace(OPTIONS, check_contents=True))
    assert (report.removed, report.photos, len(report.skipped)) == (0, 11, 11)


def test_a_giant_is_not_even_read(tmp_path, network, monkeypatch):
    (tmp_path / "photos").mkdir()
    with (tmp_path / "photos" / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    real, sizes = decode._read, []

    def read(source, below, most):
        data, status = real(source, below, most)
        sizes.append(data)
        return data, status

    monkeypatch.setattr(decode, "_read", read)
    report = build_gallery(tmp_path / "photos", tmp_path / "g", network, options=OPTIONS)
    assert "larger than" in reasons(report)["sparse.jpg"]
    assert sizes == [b""]


class Odd:
    """A network that fails with `error` on the photos in `odd`, and has no memory for more than `most` at once."""

    def __init__(self, error: BaseException | None = None, most: int = 1000) -> None:
        self.error, self.most = error, most
        self.odd = frozenset[float]()
        self.sizes: list[int] = []
        self.network = tiny_network(0)
        self.real = self.network.encode_photo
        self.network.encode_photo = self.encode_photo  # type: ignore[method-assign]

    def encode_photo(self, images):
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        odd = [float(image[0, 0, 0]) in self.odd for image in images]
        if self.error is not None and any(odd):
            raise self.error
        encoding = self.real(images)
        if any(odd):
            encoding.descriptor[torch.tensor(odd)] = float("nan")
        return encoding

    def blame(self, photos, *names):
        """Let these photos be odd."""
        read = partial(decode.read_photo, PhotoFolders.of(photos), preprocess=self.network.preprocess)
        found = [read(FileToRead(name.encode())) for name in names]
        pixels = [one.pixels for one in found if isinstance(one, decode.DecodedPhoto) and one.pixels is not None]
        tensors = normalised(torch.from_numpy(np.stack(pixels)), self.network.preprocess)
        self.odd = frozenset(tensors[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), None], ids=["raises", "not finite"])
def test_a_batch_that_cannot_be_encoded_loses_only_its_culprits(photos, tmp_path, error):
    odd = Odd(error)
    odd.blame(photos, "02.jpg", "07.jpg")
    report = build_gallery(photos, tmp_path / "g", odd.network, options=OPTIONS)
    assert set(reasons(report)) == {"02.jpg", "07.jpg"}
    assert all("cannot be encoded" in reason for reason in reasons(report).values())
    assert (report.added, report.photos) == (9, 9)
    assert verify_gallery(tmp_path / "g").whole
    expected = {f"{number:02}.jpg" for number in range(11)} - {"02.jpg", "07.jpg"}
    assert set(paths_of(tmp_path / "g", odd.network)) == expected


def test_a_network_that_fails_on_anything_stops_the_build(photos, tmp_path):
    odd = Odd(RuntimeError("no such kernel"))
    odd.blame(photos, *(path.name for path in photos.iterdir()))
    odd.odd |= {0.0}  # the neutral picture that tells the network from the photos
    with pytest.raises(RuntimeError, match="no such kernel"):
        build_gallery(photos, tmp_path / "g", odd.network, options=OPTIONS)
    odd.odd -= {0.0}
    assert len(build_gallery(photos, tmp_path / "g", odd.network, options=OPTIONS).skipped) == 11


@pytest.mark.parametrize("error", [CancelledError(), torch.AcceleratorError("device lost"), OSError(errno.EIO, "x")])
def test_what_no_photo_is_to_blame_for_stops_the_build(photos, tmp_path, error):
    odd = Odd(error)
    odd.blame(photos, "02.jpg")
    with pytest.raises(type(error)):
        build_gallery(photos, tmp_path / "g", odd.network, options=OPTIONS)
    assert sync_gallery(tmp_path / "g", tiny_network(0), options=OPTIONS).photos == 11


def test_too_little_memory_for_a_batch_makes_the_batches_smaller(photos, tmp_path):
    odd = Odd(most=2)
    report = build_gallery(photos, tmp_path / "g", odd.network, options=replace(OPTIONS, batch_size=8))
    assert (report.added, len(report.skipped)) == (11, 0)
    assert sum(size > 2 for size in odd.sizes) == 3, "eight, both its halves, and never again"
    with pytest.raises(GalleryError, match="not enough memory"):
        build_gallery(photos, tmp_path / "none", Odd(most=0).network, options=OPTIONS)


def test_a_photo_that_cannot_be_stored_is_skipped(photos, tmp_path, network, monkeypatch):
    def rows_of(photos, ids, stored, schema):
        if any(photo.raw_path == b"03.jpg" for photo in photos):
            raise OverflowError("Python int too large to convert to C long")
        return rows.rows_of(photos, ids, stored, schema)

    monkeypatch.setattr("index_builder.store.writer.rows_of", rows_of)
    report = build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    assert report.photos == report.added == 10
    assert "cannot be stored (OverflowError" in reasons(report)["03.jpg"]
    assert Gallery.open(tmp_path / "g").dataset().count_rows() == 10


def test_a_full_disk_is_no_photos_fault(photos, tmp_path, network, monkeypatch):
    tries = []

    def append(*_arguments):
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checked_commit, "append", append)
    with pytest.raises(GalleryWriteError):
        build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    assert len(tries) == 1
