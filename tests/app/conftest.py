"""A small gallery of drawn pictures behind a tiny network with random weights, and the service over it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from app.main import create_app
from app.service.service import Service
from app.settings import Settings
from index_builder import BuildOptions, build_gallery
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.network import Network
from model.networks.registry import build_network
from model.presets import ZSE_TINY

LOCAL = "http://127.0.0.1"
WRITE_KEY = "a-write-key"
READ_KEY = "a-read-key"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SKETCHSEEK_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture of a few coloured shapes, another one for every seed."""
    numbers = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in numbers.integers(120, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, w, h = (int(v) for v in numbers.integers(0, 40, 4))
        pen.ellipse((x, y, x + w + 4, y + h + 4), fill=tuple(int(v) for v in numbers.integers(0, 255, 3)))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def sketch(seed: int = 0) -> bytes:
    """A drawing of lines, as PNG."""
    numbers = np.random.default_rng(seed + 1000)
    image = Image.new("L", (80, 80), 255)
    ImageDraw.Draw(image).line([tuple(map(int, p)) for p in numbers.integers(5, 75, (6, 2))], fill=0, width=3)
    return encoded(image)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(build_network(ZSE_TINY), path)
    return path


@pytest.fixture(scope="session")
def network(checkpoint: Path) -> Network:
    return load_checkpoint(checkpoint, "cpu", "float32")


def fill(root: Path, per_folder: int = 6) -> Path:
    """A folder of photos: `animals` and `things`, and one in both `things` and `small`."""
    for number, folder in enumerate(("animals", "things")):
        (root / folder).mkdir(parents=True)
        for index in range(per_folder):
            picture(number * 100 + index).save(root / folder / f"{folder}-{index}.png")
    (root / "things" / "small").mkdir()
    picture(777).save(root / "things" / "small" / "tiny.png")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos")


@pytest.fixture
def gallery(tmp_path: Path, photos: Path, network: Network) -> Path:
    place = tmp_path / "gallery"
    build_gallery(photos, place, network, options=BuildOptions(workers=1))
    return place


@pytest.fixture(scope="session")
def shared_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("shared") / "photos")


@pytest.fixture(scope="session")
def shared_gallery(shared_photos: Path, network: Network) -> Path:
    """For tests that change nothing."""
    place = shared_photos.parent / "gallery"
    build_gallery(shared_photos, place, network, options=BuildOptions(workers=1))
    return place


def settings_for(gallery: Path, **changes: Any) -> Settings:
    """Settings of a service in a test."""
    values: dict[str, Any] = {
        "gallery": gallery,
        "rate_limit_per_minute": 0,
        "torch_threads": 1,
        "request_timeout_s": 60,
        "follow_interval_s": 0.1,
        "query_cache_bytes": 0,  # tests send the same sketches again, and watch what is done with them
    }
    return Settings(**{**values, **changes})


def service_in(client: TestClient) -> Service:
    """The service behind a client."""
    app = client.app
    assert isinstance(app, FastAPI)
    service: Service = app.state.service
    return service


def dropped(client: TestClient) -> dict[str, int]:
    """Requests that got no answer, by why, as the service's metrics count them."""
    lines = re.findall(r'^sketchseek_dropped_searches_total{reason="(\w+)"} (\S+)$', client.get("/metrics").text, re.M)
    return {reason: int(float(count)) for reason, count in lines}


def wait_until(true: Callable[[], bool], seconds: float = 100.0) -> None:
    """Wait for something that happens beside the test."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def open_client(app: FastAPI, *, ready: bool = True, **options: Any) -> contextlib.AbstractContextManager[TestClient]:
    """The application, started, and ready unless told otherwise."""

    @contextlib.contextmanager
    def opened() -> Iterator[TestClient]:
        with TestClient(app, base_url=LOCAL, **options) as client:
            if ready:
                wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client

    return opened()


@pytest.fixture(scope="session")
def service(shared_gallery: Path, network: Network) -> Iterator[TestClient]:
    """A running service for tests that change nothing."""
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        yield client


@pytest.fixture
def writable(gallery: Path, photos: Path, network: Network) -> Iterator[TestClient]:
    """A running service that may be changed, with the write key in its headers."""
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=100)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        yield client
