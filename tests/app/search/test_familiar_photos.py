"""A gallery whose photos' descriptors are of several lengths, because some are familiar, is as good as any."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.search.query_and_answer import Query
from app.search.searcher import TwoStageSearcher
from index_builder import BuildOptions, GallerySnapshot, build_gallery, verify_gallery
from model.images.opening import open_image
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.app.conftest import sketch
from tests.index_builder.pictures import write_photo


@pytest.fixture(scope="module")
def network():
    """Whitened, and familiar with some descriptors."""
    made = build_network(replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, whitened=True)), seed=0)
    size, generator = made.descriptor_size, torch.Generator().manual_seed(1)
    sketches, photos = (F.normalize(torch.randn(60, size, generator=generator), dim=1) for _ in range(2))
    labels = torch.arange(60) % 6
    assert isinstance(made, EncoderNetwork)
    assert made.whitening is not None
    made.whitening.fit(sketches, photos)
    made.whitening.familiarity.fit((sketches, labels), (photos, labels), strength=0.6)
    return made


@pytest.fixture(scope="module")
def gallery(network, tmp_path_factory):
    place = tmp_path_factory.mktemp("familiar")
    for seed in range(30):
        write_photo(place / "photos" / f"{seed}.jpg", seed)
    build_gallery(place / "photos", place / "gallery", network, options=BuildOptions(workers=1, batch_size=8))
    return place / "gallery"


@pytest.fixture
def snapshot(gallery, network):
    loaded = GallerySnapshot.load(gallery, network.identity)
    lengths = np.linalg.norm(loaded.descriptors(np.arange(len(loaded))), axis=1)
    assert lengths.max() <= 1.01
    assert lengths.min() < 0.97, "or nothing below is tested"
    return loaded


@pytest.mark.usefixtures("snapshot")
def test_it_is_whole(gallery):
    assert verify_gallery(gallery).whole


def test_recall_scores_are_inner_products(network, snapshot):
    searcher = TwoStageSearcher(network, snapshot)
    asked = network.encode_sketch(searcher.prepare(open_image(sketch(3)))[None]).descriptor.detach().numpy()
    photos = snapshot.descriptors(np.arange(len(snapshot)))
    found = searcher.search(open_image(sketch(3)), Query(top_k=30, rerank=False, expand=False)).results
    expected = (photos @ asked[0])[[one.row for one in found]]
    np.testing.assert_allclose([one.recall_score for one in found], expected, atol=2e-3)


def test_similar_photos_are_those_of_a_naive_loop_over_directions(network, snapshot):
    photos = snapshot.descriptors(np.arange(len(snapshot)))
    unit = photos / np.linalg.norm(photos, axis=1, keepdims=True)
    for row in (0, 7, 29):
        found = TwoStageSearcher(network, snapshot).similar(row, 6).results
        cosines = unit @ unit[row]
        cosines[row] = -2
        np.testing.assert_allclose([one.score for one in found], np.sort(cosines)[::-1][:6], atol=2e-3)
