"""What the fuzzer calls with any bytes: four doors through which strangers' bytes come in.

Each function returns when the bytes were taken or refused as they should be, and raises when anything else happened.
Nobody's bytes may end the process, take unbounded memory or raise something that is not an error of ours.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from app.http.requests.bodies import read_form
from app.http.requests.query_request import QueryRequest, read_query
from app.settings import load_settings
from index_builder import BuildOptions, GallerySnapshot, build_gallery, remove_photos
from index_builder.store.checksums import Ledger, file_sum, write_json
from index_builder.store.gallery import Gallery
from index_builder.store.metadata import METADATA_KEY, GalleryMetadata
from index_builder.store.places import files_below
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.config import PreprocessConfig
from model.errors import SketchseekError
from model.images.opening import ImageLimits, open_image, read_image, to_rgb
from model.images.preprocess import to_tensor
from model.networks.network import CheckpointIdentity
from model.networks.registry import build_network
from model.presets import ZSE_TINY

T = TypeVar("T")
SMALL = ImageLimits(max_pixels=1_000_000, max_memory=30_000_000)
_SETTINGS = load_settings()
_PREPROCESS = PreprocessConfig()


class _Free:
    """A place without limits of its own."""

    def take(self, count: int) -> None:
        """Room for everything."""


def _request(body: bytes, media_type: str) -> Request:
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
    messages: Iterator[Message] = iter(
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    )

    async def receive() -> Message:
        return next(messages)

    headers = [(b"content-type", media_type.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "headers": headers, "state": {"held": _Free()}}, receive)


def _finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, from a thread of its own: a test of the page leaves a running loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _read(body: bytes, kind: str) -> QueryRequest:
    return _finished(read_query(_request(body, kind), _SETTINGS, frozenset({"tag"}), takes_photo=True))


def uploads(data: bytes) -> None:
    """First byte: a picture, a form with one, a form of photos, or JSON with a picture; the rest: its bytes."""
    kind, rest = data[:1], data[1:]
    try:
        if kind == b"F":
            sent = _read(rest, "multipart/form-data; boundary=b")
            to_tensor(sent.needed_sketch().pixels(_PREPROCESS, SMALL), _PREPROCESS)
        elif kind == b"P":
            _finished(_form_of_photos(rest))
        elif kind == b"J":
            _read(rest, "application/json").needed_sketch().pixels(_PREPROCESS, SMALL)
        else:
            opened = read_image(rest, SMALL, longest_side=64)
            assert min(opened.width, opened.height) > 0
            assert to_rgb(opened.image).mode == "RGB"
    except SketchseekError:
        return


async def _form_of_photos(body: bytes) -> None:
    form = await read_form(
        _request(body, "multipart/form-data; boundary=b"), 1_000_000, 10.0, max_files=5, in_memory=False
    )
    try:
        for several in form.files.values():
            for file in several:
                open_image(await file.read(), SMALL, 64)
    finally:
        await form.close()


def strokes(data: bytes) -> None:
    """A drawing: as JSON, or (first byte 0) as doubles, which need no luck to be valid."""
    if data[:1] == b"\0":
        numbers = [value for (value,) in struct.iter_unpack("<d", data[1 : 1 + (len(data) - 1) // 8 * 8])]
        half = len(numbers) // 2
        try:
            body = json.dumps({"strokes": [[numbers[:half], numbers[half : 2 * half]]]}).encode()
        except ValueError:
            return
    else:
        body = data
    try:
        sketch = _read(body, "application/json").needed_sketch()
        if sketch.file is not None:
            return
        drawn = sketch.pixels(_PREPROCESS, SMALL)
        assert drawn.size == (_PREPROCESS.image_size, _PREPROCESS.image_size)
        tensor = to_tensor(drawn, _PREPROCESS)
        assert bool(torch.isfinite(tensor).all())
    except SketchseekError:
        return


@cache
def _tiny() -> tuple[Path, CheckpointIdentity]:
    """A folder with a checkpoint and a gallery of a few photos, and whose they are."""
    folder = _folder()
    torch.set_num_threads(1)
    save_checkpoint(build_network(ZSE_TINY, seed=0), folder / "tiny.safetensors")
    network = load_checkpoint(folder / "tiny.safetensors", "cpu", "float32")
    (folder / "photos" / "cat").mkdir(parents=True)
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / "cat" / f"{seed}.png")
    build_gallery(
        folder / "photos", folder / "gallery", network, options=BuildOptions(batch_size=3, commit_photos=3, workers=1)
    )
    snapshot = GallerySnapshot.load(folder / "gallery", network.identity)
    remove_photos(folder / "gallery", [snapshot.photo(0).photo_id])
    GallerySnapshot.load(folder / "gallery", network.identity)
    return folder, network.identity


def gallery_files() -> list[str]:
    """What can be damaged, by name, in a fixed order."""
    folder = _tiny()[0] / "gallery"
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(names, key=lambda name: (name.count("/"), name.split("-")[0], Path(name).suffix, name))


def gallery(data: bytes) -> None:
    """A gallery with some of its bytes changed, opened and searched.

    First byte: 0 changes files and leaves their checksums, as bad luck does; 1 changes files that are not Lance's and
    seals everything again, as a stranger who gives a gallery away does (Lance's own reader does not stand forged files,
    SECURITY.md says so); 2 puts the rest in the place of the dataset's metadata. Then, for 0 and 1, records of 8 bytes:
    file, action, position (4), value, length.
    """
    home, identity = _tiny()
    names = gallery_files()
    place = Path(tempfile.mkdtemp(prefix="sketchseek-fuzz-", dir=_memory()))
    try:
        shutil.copytree(home / "gallery", place, dirs_exist_ok=True)
        mode = data[:1] or b"\0"
        if mode == b"\2":
            _metadata(data[1:], identity)
            return
        for at in range(1, min(len(data), 1 + 8 * 16) - 7, 8):
            number, action, position, value, length = struct.unpack_from("<BBIBB", data, at)
            if mode == b"\1" and ".lance/" in names[number % len(names)]:
                continue
            _damage(place / names[number % len(names)], action, position, value, length)
        if mode == b"\1":
            _seal(place)
        try:
            snapshot = GallerySnapshot.load(place, identity, cache_bytes=1 << 20, preload=True)
            if len(snapshot):
                rows, scores = snapshot.recall(np.ones((1, snapshot.metadata.shape.descriptor), np.float32), 3)
                found = rows[rows >= 0]
                snapshot.encodings(found)
                for row in found:
                    snapshot.photo(int(row))
                assert scores.shape == rows.shape
            _ = snapshot.tags
        except SketchseekError:
            return
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _metadata(text: bytes, identity: CheckpointIdentity) -> None:
    class Dataset:
        class schema:  # noqa: N801 - the name that Lance gives it
            metadata = {METADATA_KEY: text}  # noqa: RUF012

    try:
        metadata: GalleryMetadata = Gallery(Path("fuzzed"), 1).metadata(Dataset)
        metadata.check(identity)
    except SketchseekError:
        return


def _damage(file: Path, action: int, position: int, value: int, length: int) -> None:
    if not file.exists():
        return
    content = bytearray(file.read_bytes())
    at = position % (len(content) + 1)
    if action % 5 == 0:
        content[at : at + 1] = bytes([value])
    elif action % 5 == 1:
        del content[at : at + length + 1]
    elif action % 5 == 2:
        content[at:at] = bytes([value]) * (length + 1)
    elif action % 5 == 3:
        content = content[:at]
    else:
        file.unlink()
        return
    file.write_bytes(content)


def _seal(place: Path) -> None:
    """New checksums for what lies there, as far as it can be read."""
    dataset = place / "photos-1.lance"
    sums = {found.name: file_sum(dataset / found.name) for found in files_below(dataset)}
    files = {name: [one.size, one.sha256, one.tail] for name, one in sums.items()}
    try:
        version = Ledger.read(place / "photos-1.checksums.json").version
    except SketchseekError:
        version = 3
    write_json(place / "photos-1.checksums.json", {"version": version, "files": files})
    for note in (place / "recall").glob("*.json"):
        note.unlink()  # whoever gives a gallery away need not give its cache


def checkpoints(data: bytes) -> None:
    """A checkpoint file: whole (first byte 0), or a header that is put before the weights of a sound one."""
    home, _ = _tiny()
    sound = (home / "tiny.safetensors").read_bytes()
    length = int.from_bytes(sound[:8], "little")
    content = data[1:] if data[:1] == b"\0" else struct.pack("<Q", len(data[1:])) + data[1:] + sound[8 + length :]
    path = _memory() / f"fuzzed-{id(data)}.safetensors"
    try:
        path.write_bytes(content)
        try:
            load_checkpoint(path, "cpu", "float32")
        except SketchseekError:
            return
    finally:
        path.unlink(missing_ok=True)


@cache
def _memory() -> Path:
    """A folder in memory where there is one."""
    shared = Path("/dev/shm")  # noqa: S108
    return _folder(shared if shared.is_dir() else None)


def _folder(where: Path | None = None) -> Path:
    """A new folder, which goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="sketchseek-fuzz-", dir=where))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


TARGETS: dict[str, Callable[[bytes], None]] = {
    "uploads": uploads,
    "strokes": strokes,
    "gallery": gallery,
    "checkpoints": checkpoints,
}
