"""A checkpoint, a gallery and sketches for the tests of one device: tiny on the CPU, the bundled network on a card."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from app.search.query_and_answer import Query
from app.search.searcher import TwoStageSearcher
from index_builder import BuildOptions, GallerySnapshot, build_gallery
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.images.opening import open_image
from model.networks.network import Network
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.app.conftest import picture, sketch
from tests.gpu.comparing import Ranked


@dataclass(frozen=True)
class Material:
    """What a device is tested with, as plain values that another process can take.

    Attributes:
        device: under test.
        checkpoint: name or file.
        photos, gallery: encoded by the CPU in float32.
    """

    device: str
    checkpoint: str
    photos: Path
    gallery: Path

    @staticmethod
    def make(device: str, folder: Path) -> Material:
        """New in a folder."""
        made = Material(device, str(folder / "tiny.safetensors"), folder / "photos", folder / "gallery")
        if device == "cpu":
            save_checkpoint(build_network(ZSE_TINY, seed=0), made.checkpoint)
        else:
            made = Material(device, "zse-lite", made.photos, made.gallery)
        made.photos.mkdir()
        for number in range(24 if device == "cpu" else 96):
            picture(number).save(made.photos / f"{number}.png")
        build_gallery(made.photos, made.gallery, made.reference, options=BuildOptions(workers=1))
        return made

    @property
    def place(self) -> torch.device:
        """The device under test."""
        return torch.device(self.device)

    @cached_property
    def reference(self) -> Network:
        """The network on the CPU in float32."""
        return load_checkpoint(self.checkpoint, "cpu", "float32")

    @cached_property
    def sketches(self) -> list[bytes]:
        """PNG files."""
        return [sketch(seed) for seed in range(4 if self.device == "cpu" else 16)]

    @cached_property
    def expected(self) -> list[Ranked]:
        """All photos for each sketch, as the CPU orders them."""
        searcher = TwoStageSearcher(self.reference, GallerySnapshot.load(self.gallery, self.reference.identity))
        answers = [searcher.search(open_image(one), Query(top_k=1000, candidates=1000)) for one in self.sketches]
        return [[(found.photo.photo_id, found.score) for found in answer.results] for answer in answers]
