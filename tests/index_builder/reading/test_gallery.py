"""Build, add, remove, sync: what ends up in the gallery, and what is left alone."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from index_builder import (
    BuildOptions,
    BuildProgress,
    Gallery,
    GallerySnapshot,
    add_photos,
    build_gallery,
    latest_version,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.gallery_errors import (
    GalleryError,
    GalleryMismatchError,
    GalleryNotFoundError,
    PhotosSkippedError,
    UnknownPhotoError,
)
from index_builder.photo_filter import PhotoFilter
from index_builder.store.quantise import TokenShape
from model.images.opening import read_image
from model.images.preprocess import photo_tensor
from tests.index_builder.pictures import photo_bytes, write_photo


def contents(gallery, network):
    """Photo id -> path, descriptor and tokens of the latest version."""
    snapshot = GallerySnapshot.load(gallery, network.identity)
    rows = range(len(snapshot))
    encoding, descriptors = snapshot.encodings(rows), snapshot.descriptors(rows)
    return {
        record.photo_id: (record.raw_path, descriptors[row], encoding.tokens[row].numpy())
        for row, record in ((row, snapshot.photo(row)) for row in rows)
    }


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for photo, (path, descriptor, tokens) in expected.items():
        assert actual[photo][0] == path
        np.testing.assert_allclose(actual[photo][1], descriptor, atol=1e-5)
        # Photos may be encoded in other batches, and rounding can tip a value into the next of 127 steps.
        np.testing.assert_allclose(actual[photo][2], tokens, atol=1.1 * np.abs(tokens).max() / 127)


def test_a_gallery_holds_what_the_network_says(tmp_path, photos, network, options):
    report = build_gallery(photos, tmp_path / "g", network, options=options)
    assert (report.added, report.unchanged, report.photos, len(report.skipped)) == (10, 0, 10, 0)
    assert report.version == latest_version(tmp_path / "g")
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert len(snapshot) == 10
    assert snapshot.tags == {"cat": 5, "dog": 5}
    assert snapshot.checkpoint == "zse-tiny"
    assert snapshot.photo_ids == sorted(snapshot.photo_ids)
    for row in range(10):
        record = snapshot.photo(row)
        assert snapshot.row_of(record.photo_id) == row
        assert (record.width, record.height) == (24, 16)
        assert record.tags == (record.path.split("/", maxsplit=1)[0],)
        file = snapshot.file_of(row)
        assert record.size == file.stat().st_size
        tensor = photo_tensor(read_image(file, longest_side=64).image, network.preprocess)
        with torch.inference_mode():
            expected = network.encode_photo(tensor[None])
        stored = snapshot.encodings([row])
        np.testing.assert_allclose(snapshot.descriptors([row]), expected.descriptor.numpy(), atol=1e-5)
        np.testing.assert_allclose(stored.descriptor.numpy(), expected.descriptor.numpy(), atol=5e-4)
        step = expected.tokens.abs().amax(dim=-1, keepdim=True) / 127
        assert ((stored.tokens - expected.tokens).abs() <= 0.51 * step + 1e-5).all()
        assert stored.positions.tolist() == expected.positions.tolist()
        _, score = snapshot.recall(stored.descriptor.numpy(), 1)
        assert score[0, 0] == pytest.approx(1, abs=2e-3)


def test_running_again_changes_nothing(tmp_path, photos, network, options):
    first = build_gallery(photos, tmp_path / "g", network, options=options)
    again = build_gallery(photos, tmp_path / "g", network, options=options)
    synced = sync_gallery(tmp_path / "g", network, options=options)
    assert (again.added, again.unchanged, again.version) == (0, 10, first.version)
    assert (synced.added, synced.removed, synced.unchanged, synced.version) == (0, 0, 10, first.version)


def test_sync_touches_only_what_changed(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = GallerySnapshot.load(tmp_path / "g", network.identity)
    added = {before.photo(row).path: before.photo(row).added for row in range(10)}
    write_photo(photos / "dog" / "0.jpg", seed=50)
    (photos / "cat" / "1.jpg").unlink()
    (photos / "dog" / "2.jpg").rename(photos / "dog" / "moved.jpg")
    os.utime(photos / "cat" / "3.jpg", ns=(10**18, 10**18 + 5))
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.changed, report.moved, report.removed, report.unchanged) == (0, 1, 1, 1, 7)
    after = GallerySnapshot.load(tmp_path / "g", network.identity)
    now = {after.photo(row).path: after.photo(row) for row in range(len(after))}
    assert set(now) == set(added) - {"cat/1.jpg", "dog/2.jpg"} | {"dog/moved.jpg"}
    for path in set(added) - {"cat/1.jpg", "dog/2.jpg", "dog/0.jpg"}:
        assert now[path].added == added[path]
    # The new time was written down, so the file is not read again.
    assert sync_gallery(tmp_path / "g", network, options=options).version == after.version
    # What was loaded before still answers as it did.
    assert len(before) == 10
    assert before.encodings(np.arange(10)).tokens.shape[0] == 10


def test_a_change_without_a_new_time_is_seen_if_it_is_recent(tmp_path, network, options):
    path = tmp_path / "p" / "1.jpg"
    path.parent.mkdir()
    path.write_bytes(photo_bytes(1).ljust(2000, b"\0"))
    moment = path.stat().st_mtime_ns
    build_gallery(tmp_path / "p", tmp_path / "g", network, options=options)
    path.write_bytes(photo_bytes(2).ljust(2000, b"\0"))
    os.utime(path, ns=(moment, moment))
    assert sync_gallery(tmp_path / "g", network, options=options).changed == 1


def test_an_old_change_without_a_new_time_needs_check_contents(tmp_path, network, options):
    path = tmp_path / "p" / "1.jpg"
    path.parent.mkdir()
    path.write_bytes(photo_bytes(1).ljust(2000, b"\0"))
    os.utime(path, ns=(10**18, 10**18))
    build_gallery(tmp_path / "p", tmp_path / "g", network, options=options)
    path.write_bytes(photo_bytes(2).ljust(2000, b"\0"))
    os.utime(path, ns=(10**18, 10**18))
    assert sync_gallery(tmp_path / "g", network, options=options).unchanged == 1
    checked = sync_gallery(tmp_path / "g", network, options=replace(options, check_contents=True))
    assert checked.changed == 1


def test_two_paths_of_one_content_are_two_photos(tmp_path, network, options):
    write_photo(tmp_path / "p" / "a.jpg", 1)
    shutil.copy(tmp_path / "p" / "a.jpg", tmp_path / "p" / "b.jpg")
    (tmp_path / "p" / "c.jpg").symlink_to(tmp_path / "p" / "a.jpg")
    assert build_gallery(tmp_path / "p", tmp_path / "g", network, options=options).added == 3
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert len({snapshot.photo(row).photo_id for row in range(3)}) == 3
    assert len({snapshot.photo(row).content_hash for row in range(3)}) == 1
    newest_first = sorted(range(3), key=lambda row: (-snapshot.photo(row).taken.timestamp(), row))
    assert snapshot.photo(newest_first[0]).path == "b.jpg"
    assert snapshot.recall(snapshot.descriptors([1]), 3)[0].tolist() == [newest_first]
    assert snapshot.recall(snapshot.descriptors([1]), 1)[0].tolist() == [newest_first[:1]]


def bomb(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (12000, 12000)).save(path, "PNG")


def test_bad_files_are_skipped_with_a_reason_and_never_stop_a_build(tmp_path, photos, network, options):
    good = photo_bytes(1, size=(200, 100))
    (photos / "truncated.jpg").write_bytes(good[:300])
    (photos / "garbage.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    (photos / "page.jpg").write_bytes(b"<html>not a photo</html>")
    (photos / "empty.webp").touch()
    bomb(photos / "bomb.png")
    options = replace(options, limits=replace(options.limits, max_pixels=100_000_000))
    (photos / "notes.txt").write_text("hello")
    report = build_gallery(photos, tmp_path / "g", network, options=options)
    reasons = dict(report.skipped.named())
    assert report.added == 10
    assert set(reasons) == {"truncated.jpg", "garbage.png", "page.jpg", "empty.webp", "bomb.png", "notes.txt"}
    assert "pixels" in reasons["bomb.png"]
    with pytest.raises(PhotosSkippedError, match="5 files"):
        build_gallery(photos, tmp_path / "g", network, options=replace(options, strict=True))
    assert verify_gallery(tmp_path / "g").whole


def test_a_file_larger_than_allowed_is_skipped(tmp_path, photos, network, options):
    (photos / "long.jpg").write_bytes(photo_bytes(1) + b"\0" * 5000)
    report = build_gallery(
        photos, tmp_path / "g", network, options=replace(options, limits=replace(options.limits, max_bytes=5000))
    )
    reason = "larger than the 5000 bytes allowed; a larger --max-image-bytes (SKETCHSEEK_MAX_IMAGE_BYTES) lets it in"
    assert list(report.skipped.named()) == [("long.jpg", reason)]
    assert report.added == 10


def test_formats(tmp_path, network, options):
    for seed, (suffix, kind) in enumerate(
        [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("bmp", "BMP"), ("tif", "TIFF"), ("gif", "GIF"),
         ("avif", "AVIF")]
    ):  # fmt: skip
        write_photo(tmp_path / "p" / f"{seed}.{suffix}", seed, kind)
    report = build_gallery(tmp_path / "p", tmp_path / "g", network, options=options)
    assert (report.added, len(report.skipped)) == (7, 0)


def test_a_photo_that_became_damaged_leaves_the_gallery(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    (photos / "cat" / "1.jpg").write_bytes(b"damaged")
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.removed, report.photos, len(report.skipped)) == (1, 9, 1)


def test_photos_that_cannot_be_looked_at_stay(tmp_path, photos, network, options, monkeypatch):
    build_gallery(photos, tmp_path / "g", network, options=options)
    real = os.scandir

    def scandir(path):
        if os.fsencode(path).endswith(b"cat"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.removed, report.photos) == (0, 10)
    assert [path for path, _ in report.skipped.named()] == ["cat"]


def test_add_and_remove(tmp_path, photos, network, options):
    first = add_photos(tmp_path / "g", photos, ["cat/1.jpg", photos / "dog"], network, options=options)
    assert (first.added, len(first.added_ids)) == (6, 6)
    again = add_photos(tmp_path / "g", photos, ["cat/1.jpg", "cat/3.jpg"], network, options=options)
    assert (again.added, again.unchanged) == (1, 1)
    nested = [
        "cat/5.jpg",
        "cat",
        "cat/5.jpg",
        photos / "dog" / "..",
        "dog/0.jpg",
    ]  # each file once, however often it is named
    assert add_photos(tmp_path / "g", photos, nested, network, options=options).photos == 10
    assert verify_gallery(tmp_path / "g").whole
    keep = GallerySnapshot.load(tmp_path / "g", network.identity)
    others = [r.photo_id for r in map(keep.photo, range(10)) if r.path in ("cat/5.jpg", "cat/7.jpg", "cat/9.jpg")]
    assert remove_photos(tmp_path / "g", others).removed == 3
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    gone = snapshot.photo(2).photo_id
    report = remove_photos(tmp_path / "g", [gone, "a" * 26])
    assert (report.removed, report.photos) == (1, 6)
    after = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert gone not in after.photo_ids
    with pytest.raises(UnknownPhotoError):
        after.row_of(gone)
    rows, _ = after.recall(snapshot.descriptors([2]), 7)
    assert sorted(rows[0].tolist()) == [-1, 0, 1, 2, 3, 4, 5]
    with pytest.raises(GalleryError, match="not below"):
        add_photos(tmp_path / "g", photos, [tmp_path / "elsewhere.jpg"], network, options=options)
    with pytest.raises(GalleryError, match="letters and digits"):
        remove_photos(tmp_path / "g", ["x') OR ('1'='1"])
    assert len(GallerySnapshot.load(tmp_path / "g", network.identity)) == 6


def test_filters(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert snapshot.select() is None
    selected = snapshot.select(PhotoFilter(tags=("cat",)))
    assert selected is not None
    cats = selected.mask
    assert [snapshot.photo(row).tags[0] for row in np.flatnonzero(cats).tolist()] == ["cat"] * 5
    both = snapshot.select(PhotoFilter(tags=("cat", "dog")))
    assert both is not None
    assert both.mask.all()
    nothing = snapshot.select(PhotoFilter(tags=("bird",)))
    assert nothing is not None
    assert not nothing.mask.any()
    chosen = [snapshot.photo(row).photo_id for row in (1, 4, 5)]
    some = snapshot.select(photo_ids=[*chosen, "unknown", "ünknown"])
    assert some is not None
    assert np.flatnonzero(some.mask).tolist() == [1, 4, 5]
    rows, _ = snapshot.recall(snapshot.descriptors([0]), 4, some)
    assert sorted(rows[0].tolist()) == [-1, 1, 4, 5]
    crossed = snapshot.select(PhotoFilter(tags=("cat",)), photo_ids=chosen)
    assert crossed is not None
    assert set(np.flatnonzero(crossed.mask)) == {row for row in (1, 4, 5) if cats[row]}


def test_another_checkpoint_or_folder_is_refused(tmp_path, photos, network, other_network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    with pytest.raises(GalleryMismatchError, match="rebuild"):
        GallerySnapshot.load(tmp_path / "g", other_network.identity)
    with pytest.raises(GalleryMismatchError, match="rebuild"):
        sync_gallery(tmp_path / "g", other_network, options=options)
    with pytest.raises(GalleryMismatchError, match="rebuild"):
        build_gallery(photos, tmp_path / "g", other_network, options=options)
    photos.rename(tmp_path / "new place")
    with pytest.raises(GalleryMismatchError, match="--moved"):
        build_gallery(tmp_path / "new place", tmp_path / "g", network, options=options)
    report = sync_gallery(tmp_path / "g", network, photos=tmp_path / "new place", options=replace(options, moved=True))
    assert (report.unchanged, report.added, report.removed) == (10, 0, 0)
    assert verify_gallery(tmp_path / "g").decoded == 10


def test_no_gallery(tmp_path, network):
    with pytest.raises(GalleryNotFoundError, match="gallery build"):
        GallerySnapshot.load(tmp_path / "g", network.identity)
    with pytest.raises(GalleryNotFoundError):
        remove_photos(tmp_path / "g", ["a"])
    with pytest.raises(GalleryNotFoundError):
        sync_gallery(tmp_path / "g", network)
    with pytest.raises(GalleryError, match="check the path"):
        build_gallery(tmp_path / "no photos", tmp_path / "g", network)
    assert not (tmp_path / "g").exists()


def test_an_empty_folder_is_an_empty_gallery(tmp_path, network):
    (tmp_path / "p").mkdir()
    assert build_gallery(tmp_path / "p", tmp_path / "g", network).photos == 0
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity, preload=True)
    assert len(snapshot) == 0
    assert snapshot.tags == {}
    query = np.ones((2, network.descriptor_size), dtype=np.float32)
    assert (snapshot.recall(query, 3)[0] == -1).all()
    assert len(snapshot.encodings([])) == 0
    assert verify_gallery(tmp_path / "g").whole


def test_bytes_per_photo_are_what_the_shape_says(tmp_path, photos, network, options):
    shape = TokenShape(network.photo_tokens, network.token_width, network.descriptor_size)
    build_gallery(photos, tmp_path / "g", network, options=options)
    opened = Gallery.open(tmp_path / "g")
    assert opened.metadata(opened.dataset()).shape == shape
    count, width, size = shape.tokens, shape.width, shape.descriptor
    assert shape.bytes_per_photo == size * 4 + shape.record_bytes
    assert shape.record_bytes == count * width + count * 4 + (count - 1) * 2


def test_progress_ends_at_the_total(tmp_path, photos, network, options):
    seen: list[BuildProgress] = []
    build_gallery(photos, tmp_path / "g", network, options=options, progress=seen.append)
    assert [p.done for p in seen] == [4, 8, 10]
    assert {p.total for p in seen} == {10}
    assert seen[-1].seconds_left == 0
    assert all(p.rate > 0 for p in seen)


def test_an_error_in_the_middle_keeps_what_was_committed(tmp_path, photos, network, options):
    def stop(progress):
        if progress.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_gallery(photos, tmp_path / "g", network, options=options, progress=stop)
    held = len(GallerySnapshot.load(tmp_path / "g", network.identity))
    assert held in (4, 8)
    report = build_gallery(photos, tmp_path / "g", network, options=options)
    assert (report.added, report.unchanged) == (10 - held, held)


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 5), st.integers(0, 3)),
    st.tuples(st.just("damage"), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("add"), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("touch"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["sync", "build"])),
)


def play(step, root, gallery, network, options):
    name = root / f"folder{step[1] % 2}" / f"{step[1]}.jpg" if len(step) > 1 else root
    relative = os.fsencode(name.relative_to(root))
    match step[0]:
        case "write":
            write_photo(name, seed=step[2])
        case "damage":
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(b"no photo")
        case "delete":
            name.unlink(missing_ok=True)
        case "add" if name.exists():
            add_photos(gallery, root, [name], network, options=options)
        case "remove" if gallery.exists():
            snapshot = GallerySnapshot.load(gallery, network.identity)
            ids = [r.photo_id for r in map(snapshot.photo, range(len(snapshot))) if r.raw_path == relative]
            assert remove_photos(gallery, ids).removed == len(ids)
        case "touch" if name.exists():
            os.utime(name, ns=(10**18, name.stat().st_mtime_ns + 1000))
        case "sync" if gallery.exists():
            sync_gallery(gallery, network, options=options)
        case "build":
            build_gallery(root, gallery, network, options=options)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=1, max_size=10))
def test_any_interleaving_then_sync_is_one_build_of_the_final_folder(tmp_path_factory, network, steps):
    base = tmp_path_factory.mktemp("steps")
    options = BuildOptions(batch_size=2, commit_photos=2, workers=0, accept_loss=True, most_lost=100)
    root = base / "photos"
    root.mkdir()
    for step in steps:
        play(step, root, base / "g", network, options)
    if not (base / "g").exists():
        build_gallery(root, base / "g", network, options=options)
    for _ in range(2):  # what the first one holds, the second accepts
        sync_gallery(base / "g", network, options=options)
    build_gallery(root, base / "fresh", network, options=replace(options, batch_size=3))
    assert_same(contents(base / "g", network), contents(base / "fresh", network))
    assert verify_gallery(base / "g", sample=100).whole
