"""What does not fit into the memory of a device is done in halves, and comes out the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from app.search.query_and_answer import Candidates, Query
from app.search.searcher import TwoStageSearcher
from index_builder import BuildOptions, GallerySnapshot, build_gallery
from model.checkpoints.files import load_checkpoint
from model.images.opening import open_image
from model.networks.encoder_network import EncoderNetwork
from model.types import Encoding
from tests.gpu.comparing import distance
from tests.gpu.conftest import ON_BOTH
from tests.gpu.material import Material
from tests.gpu.processes import alone
from tests.gpu.shortage import too_little_for
from tests.model.tiny_networks import images


@pytest.fixture(scope="module", params=ON_BOTH)
def material(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Of each device."""
    return Material.make(request.param, tmp_path_factory.mktemp(f"material-{request.param}"))


def searcher_on(material: Material, chunk: int = 128) -> TwoStageSearcher:
    """Over the gallery, in float32."""
    network = load_checkpoint(material.checkpoint, material.device, "float32")
    snapshot = GallerySnapshot.load(material.gallery, network.identity, device=network.device)
    return TwoStageSearcher(network, snapshot, chunk)


def test_pictures_are_encoded_in_halves(material):
    searcher, many = searcher_on(material), 16 if material.device == "cpu" else 512
    pictures = images(8, searcher.network.preprocess.image_size, seed=5).repeat(many // 8, 1, 1, 1)
    whole = searcher.encode_photos(pictures[:8])
    with too_little_for(
        lambda: searcher.encode_photos(pictures), searcher.network, "encode_photo", most=4, count=len
    ) as sizes:
        halves = searcher.encode_photos(pictures)
    sizes.assert_smaller_than(many)
    assert len(halves) == many
    assert distance(whole, halves[:8]).descriptor < 1e-3
    assert distance(whole, halves[-8:]).descriptor < 1e-3


def test_candidates_are_related_in_halves(material):
    many = 48 if material.device == "cpu" else 16384
    searcher = searcher_on(material, chunk=many)
    rows = np.arange(many, dtype=np.int64) % len(searcher.snapshot)
    candidates = Candidates(rows, np.zeros(many, dtype=np.float32), searched=many)
    sketch = searcher.encode(searcher.prepare(open_image(material.sketches[0]))[None])

    def logits() -> torch.Tensor:
        (answer,) = searcher.rerank([sketch], [candidates], [Query(top_k=many)])
        return torch.tensor([found.relation_score for found in sorted(answer.results, key=lambda one: one.recall_rank)])

    whole = logits()
    with too_little_for(
        logits, searcher.network, "relate_each", most=10, count=lambda _sketches, photos, _counts: len(photos)
    ) as sizes:
        halves = logits()
    sizes.assert_smaller_than(many)
    torch.testing.assert_close(halves, whole, rtol=0, atol=0.01)


def halve_after_a_failed_recording(material: Material) -> None:
    """After a graph that failed, PyTorch may refuse to give memory back."""
    searcher = searcher_on(material)
    network = cast(EncoderNetwork, searcher.network)
    relate, encode, sizes = network.relate_chunk, network.encode_photo, list[int]()

    def waits(*arguments: Any) -> torch.Tensor:
        logits = relate(*arguments)
        logits.cpu()  # nothing may wait for the device while a graph is recorded
        return logits

    def encode_few(some: torch.Tensor) -> Encoding:
        sizes.append(len(some))
        if len(some) > 4:
            raise torch.OutOfMemoryError("injected")
        return encode(some)

    pictures = images(16, network.preprocess.image_size, seed=5)
    whole = searcher.encode_photos(pictures)
    setattr(network, "relate_chunk", waits)  # noqa: B010 - mypy refuses a plain assignment
    network.warm_up()
    assert network.fixed_shapes.sizes("photo") == network.fixed_shapes.sizes("relate") == []
    setattr(network, "encode_photo", encode_few)  # noqa: B010
    halves = searcher.encode_photos(pictures)
    assert sizes == [16, 8, 4, 4, 4, 4]
    assert distance(whole, halves).descriptor < 1e-3


def test_work_is_halved_after_a_recording_failed_too(material):
    if material.device == "cpu":
        halve_after_a_failed_recording(material)
    else:
        alone(halve_after_a_failed_recording, replace(material))


def test_a_gallery_is_built_in_halves(material, tmp_path):
    network = load_checkpoint(material.checkpoint, material.device, "float32")
    many = len(list(material.photos.iterdir()))
    options = BuildOptions(batch_size=many, commit_photos=many, workers=1)
    batch = images(8, network.preprocess.image_size).repeat(many // 8, 1, 1, 1)
    with (
        torch.inference_mode(),
        too_little_for(lambda: network.encode_photo(batch), network, "encode_photo", most=10, count=len) as sizes,
    ):
        report = build_gallery(material.photos, tmp_path / "gallery", network, options=options)
    assert (report.added, len(report.skipped)) == (many, 0)
    sizes.assert_smaller_than(many)
    reference = GallerySnapshot.load(material.gallery, network.identity)
    halves = GallerySnapshot.load(tmp_path / "gallery", network.identity)
    rows = np.arange(many)
    cosines = np.einsum("ne,ne->n", reference.descriptors(rows), halves.descriptors(rows))
    lengths = np.linalg.norm(reference.descriptors(rows), axis=1) * np.linalg.norm(halves.descriptors(rows), axis=1)
    assert (cosines / lengths > 1 - 1e-3).all()
