import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.config import PreprocessConfig
from model.data import arrays as decoding
from model.data.arrays import decode, decode_item
from model.data.folders import read_folders
from model.data.items import Dataset, Item
from model.errors import BlankSketchError, DatasetError
from model.evaluation.encode import prepare
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, photo_image, sketch_image, to_tensor

CONFIG = PreprocessConfig(image_size=32)


def test_decoded_as_the_network_is_served(collection):
    dataset = read_folders(collection)
    sketches = decode(dataset, "sketch", CONFIG)
    photos = decode(dataset, "photo", CONFIG, workers=1)
    assert sketches.pixels.shape == (6, 1, 32, 32)
    assert photos.pixels.shape == (6, 3, 32, 32)
    assert sketches.pixels.dtype == torch.uint8
    assert sketches.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = np.asarray(sketch_image(open_image(dataset.sketches[4].path), CONFIG).convert("L"))
    assert np.array_equal(sketches.pixels[4, 0].numpy(), expected)
    expected = np.asarray(photo_image(open_image(dataset.photos[2].path), CONFIG))
    assert np.array_equal(photos.pixels[2].permute(1, 2, 0).numpy(), expected)


def test_strokes_are_drawn():
    strokes = (((0.0, 100.0), (0.0, 100.0)),)  # down to the right
    arrays = decode(Dataset((Item(Path("x.ndjson"), "line", "sketch", strokes=strokes),)), "sketch", CONFIG)
    assert arrays.pixels[0, 0].float().diagonal().mean() < 190
    assert arrays.pixels[0, 0, 2, 25] > 240


def test_the_cache_is_found_by_content_not_by_path(collection, tmp_path):
    cache = tmp_path / "cache"
    calls = []

    def progress(done, total):
        calls.append((done, total))

    first = decode(read_folders(collection), "sketch", CONFIG, cache=cache, progress=progress)
    assert calls[-1] == (6, 6)
    calls.clear()
    collection = collection.rename(tmp_path.parent / "moved")
    cache = collection / "cache"
    second = decode(read_folders(collection), "sketch", CONFIG, cache=cache, progress=progress)
    assert calls == []
    assert torch.equal(first.pixels, second.pixels)
    decode(read_folders(collection), "sketch", replace(CONFIG, image_size=16), cache=cache, progress=progress)
    assert len(calls) == 6
    calls.clear()
    path = collection / "sketch" / "cat" / "tub_0.png"
    path.write_bytes((collection / "sketch" / "cat" / "tub_1.png").read_bytes())
    changed = decode(read_folders(collection), "sketch", CONFIG, cache=cache, progress=progress)
    assert len(calls) == 6
    assert torch.equal(changed.pixels[0], changed.pixels[1])


def test_a_damaged_cache_is_decoded_anew(collection, tmp_path):
    cache = tmp_path / "cache"
    dataset = read_folders(collection)
    good = decode(dataset, "photo", CONFIG, cache=cache).pixels.clone()
    (file,) = cache.glob("*.npy")
    file.write_bytes(file.read_bytes()[:200])
    assert torch.equal(decode(dataset, "photo", CONFIG, cache=cache).pixels, good)
    assert file.stat().st_size > 200
    assert not list(cache.glob(".*"))


def test_damaged_images_are_named_or_skipped(collection, tmp_path, caplog):
    (collection / "sketch" / "cat" / "tub_1.png").write_bytes(b"no image")
    dataset = read_folders(collection)
    (collection / "sketch" / "teddy-bear" / "tub_2.png").unlink()
    for _ in range(2):  # the second time from the cache
        with pytest.raises(DatasetError, match=r"2 of 6 images.*cat/tub_1\.png.*teddy-bear/tub_2\.png"):
            decode(dataset, "sketch", CONFIG, cache=tmp_path / "cache")
        with caplog.at_level(logging.WARNING, logger="model.data.arrays"):  # a command may have silenced it
            arrays = decode(dataset, "sketch", CONFIG, cache=tmp_path / "cache", skip_damaged=True)
        assert len(arrays) == len(arrays.pixels) == 4
        assert arrays.labels.tolist() == [0, 0, 1, 1]
        assert [item.path.name for item in arrays.items] == ["tub_0.png", "tub_2.png", "tub_0.png", "tub_1.png"]
        assert len(arrays.skipped) == 2
        assert "tub_1.png" in caplog.text
    only = dataset.where(lambda item: item.path.name == "tub_1.png" and item.category == "cat")
    with pytest.raises(DatasetError, match="1 of 1"):
        decode(only, "sketch", CONFIG, skip_damaged=True)


def test_a_dataset_without_the_modality_is_refused(collection):
    only = read_folders(collection).where(lambda item: item.modality == "photo")
    with pytest.raises(DatasetError, match="no sketch"):
        decode(only, "sketch", CONFIG)


def canvas(side=96, paper=255.0):
    """[side, side] grey values of a page with a frame, a diagonal and a dot of ink."""
    y, x = np.mgrid[:side, :side]
    page = np.full((side, side), paper)
    thick = max(1, side // 48)
    frame = (abs(np.maximum(abs(x - side / 2), abs(y - side / 2)) - side / 3) < thick) & (y > side / 4)
    page[frame | (abs(x - y) < thick) & (x > side / 3) & (x < side / 2)] = 20
    return page


def drawn(kind):
    """Grey values that take another way through the preparation each."""
    page = canvas()
    shadow = np.linspace(0.55, 1, 96)[None, :]
    dot = np.full((96, 96), 255.0)
    dot[40:42, 50:53] = 30
    return {
        "clean": page,
        "negative": 255 - page,
        "pencil": 245 - (255 - page) * 0.35,
        "paper": page * shadow,
        "blank": np.full((96, 96), 255.0),
        "blank paper": np.full((96, 96), 240.0) * shadow,
        "dot": dot,
        "hatched": np.where(np.arange(page.shape[1]) % 6 < 3, np.minimum(page, 40), page),
        "faint": 250 - (255 - page) * 0.06,
        "large": canvas(2600),
    }[kind]


# Format -> the first digits of a hash of what is decoded. Another hash: raise `_FORMAT`, or caches of old decodings are
# taken for new ones, and add a line here.
KNOWN = {3: "95cd6f94e436"}


def test_other_decoding_goes_with_another_format(tmp_path):
    seen = hashlib.sha256()
    for kind in ("clean", "negative", "pencil", "paper", "blank", "blank paper", "dot", "hatched", "faint", "large"):
        path = tmp_path / f"{kind}.png"
        Image.fromarray(drawn(kind).round().astype(np.uint8)).save(path)
        try:
            pixels = decode_item(Item(path, "any", "sketch"), CONFIG)
        except BlankSketchError:
            seen.update(f"{kind} is blank".encode())
            continue
        # to an eighth of the range: another processor may round the last bits in another way
        seen.update((pixels.reshape(8, 4, 8, 4).mean(axis=(1, 3)) // 32).astype(np.uint8).tobytes())
    strokes = (((0.0, 100.0, 40.0), (0.0, 100.0, 90.0)), ((5.0, 60.0), (80.0, 10.0)))
    pixels = decode_item(Item(Path("x.ndjson"), "any", "sketch", strokes=strokes), CONFIG)
    seen.update((pixels.reshape(8, 4, 8, 4).mean(axis=(1, 3)) // 32).astype(np.uint8).tobytes())
    assert seen.hexdigest()[:12] == KNOWN[decoding._FORMAT]


def test_large_sketches_are_decoded_as_evaluation_decodes_them(tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(canvas(2600).astype(np.uint8)).save(path)
    item = Item(path, "any", "sketch")
    pixels = decode_item(item, CONFIG)
    served = sketch_image(open_image(path, longest_side=SKETCH_LONGEST_SIDE), CONFIG)
    assert np.array_equal(pixels[0], np.asarray(served.convert("L")))
    assert not np.array_equal(pixels[0], np.asarray(sketch_image(open_image(path), CONFIG).convert("L")))
    assert torch.equal(prepare(item, CONFIG), to_tensor(served, CONFIG))
