"""Encodings of pictures that searched lately: found again, bounded, and the same for every page of an answer."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from app.main import create_app
from app.search.query_and_answer import Query
from app.search.query_parts import PartWeights, QueryParts
from app.search.remembered_encodings import Picture, RememberedEncodings, name_of
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.types import Encoding
from tests.app.conftest import open_client, settings_for, sketch


class Encoder:
    """Encodes a picture by its mean, and knows how many it was asked for each time."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, images: torch.Tensor) -> Encoding:
        self.asked.append(len(images))
        means = images.mean(dim=(1, 2, 3))[:, None]
        return Encoding(means, means[:, :, None].repeat(1, 3, 4), torch.zeros(len(images), 2, dtype=torch.int64))


BYTES = 4 + 3 * 4 * 4 + 2 * 8  # of one encoding


def pictured(value: float, name: str | None = "") -> Picture:
    return Picture(torch.full((3, 2, 2), float(value)), None if name is None else (name or str(value)).encode())


def values(found: list[Encoding | None]) -> list[float | None]:
    return [None if one is None else float(one.descriptor) for one in found]


def test_only_what_is_new_is_encoded():
    encode, remembered = Encoder(), RememberedEncodings(10 * BYTES)
    assert values(remembered.each([pictured(1), None, pictured(2)], encode)) == [1, None, 2]
    assert values(remembered.each([pictured(3), pictured(2), None, pictured(1)], encode)) == [3, 2, None, 1]
    assert values(remembered.each([pictured(1), pictured(3)], encode)) == [1, 3]
    assert encode.asked == [2, 1]
    assert remembered.each([None, None], encode) == [None, None]


def test_a_picture_without_a_name_is_encoded_each_time():
    encode, remembered = Encoder(), RememberedEncodings(10 * BYTES)
    for _ in range(2):
        assert values(remembered.each([pictured(1, None), pictured(2, None)], encode)) == [1, 2]
    assert encode.asked == [2, 2]


def test_the_same_picture_twice_in_a_batch_is_encoded_once():
    for capacity in (0, 10 * BYTES):
        encode = Encoder()
        found = RememberedEncodings(capacity).each([pictured(1), pictured(2), pictured(1)], encode)
        assert values(found) == [1, 2, 1]
        assert encode.asked == [2]


def test_the_least_recently_used_ones_go_first():
    encode, remembered = Encoder(), RememberedEncodings(2 * BYTES)
    remembered.each([pictured(1), pictured(2)], encode)
    remembered.each([pictured(1)], encode)
    remembered.each([pictured(3)], encode)
    assert encode.asked == [2, 1]
    remembered.each([pictured(1), pictured(3)], encode)
    assert encode.asked == [2, 1]
    remembered.each([pictured(2)], encode)
    assert encode.asked == [2, 1, 1]


@pytest.mark.parametrize("capacity", [0, BYTES - 1])
def test_what_does_not_fit_is_not_kept(capacity):
    encode, remembered = Encoder(), RememberedEncodings(capacity)
    for _ in range(2):
        assert values(remembered.each([pictured(1)], encode)) == [1]
    assert encode.asked == [1, 1]


def test_a_part_of_a_batch_does_not_keep_the_whole_batch():
    encode, remembered = Encoder(), RememberedEncodings(10 * BYTES)
    remembered.each([pictured(number) for number in range(8)], encode)
    (one,) = remembered.each([pictured(3)], encode)
    assert one is not None
    assert one.tokens.untyped_storage().nbytes() == one.tokens.nbytes


def test_a_name_tells_pictures_and_kinds_apart():
    one, other = Image.new("RGB", (4, 4), "white"), Image.new("RGB", (4, 4), (255, 255, 254))
    assert name_of(one, "sketch") == name_of(one.copy(), "sketch")
    assert len({name_of(one, "sketch"), name_of(other, "sketch"), name_of(one, "photo")}) == 3


def test_a_remembered_sketch_finds_the_same_with_other_options(shared_gallery, network):
    snapshot = GallerySnapshot.load(shared_gallery, network.identity)
    plain = TwoStageSearcher(network, snapshot)
    remembering = TwoStageSearcher(network, snapshot, remembered=RememberedEncodings(1_000_000))
    image = torch.rand(3, *[network.preprocess.image_size] * 2, generator=torch.Generator().manual_seed(1))
    for query in (Query(top_k=3), Query(top_k=13), Query(top_k=5, rerank=False)):
        (expected,) = plain.search_many([QueryParts(image)], [query])
        (found,) = remembering.search_many([QueryParts(image, sketch_name=b"one")], [query])
        assert found.results == expected.results
    both = QueryParts(image, photo=image, sketch_name=b"one", photo_name=b"other", weights=PartWeights(sketch=0.0))
    assert both.sketch_picture is None, "what has no weight is not encoded"
    assert both.photo_picture is not None


@pytest.mark.parametrize(("capacity", "encoded"), [(1_000_000, 1), (0, 3)])
def test_over_http_a_sketch_is_encoded_once(shared_gallery, network, monkeypatch, capacity, encoded):
    with open_client(create_app(settings_for(shared_gallery, query_cache_bytes=capacity), network)) as client:
        real, asked = type(network).encode_sketch, []

        def encode(self, sketches):
            asked.append(len(sketches))
            return real(self, sketches)

        monkeypatch.setattr(type(network), "encode_sketch", encode)
        pages = [
            client.post("/search", files={"sketch": sketch()}, data=more).json()["results"]
            for more in ({"top_k": "5"}, {"top_k": "9"}, {"top_k": "4", "offset": "5"})
        ]
    assert sum(asked) == encoded
    assert [one["photo_id"] for one in pages[0]] == [one["photo_id"] for one in pages[1][:5]]
    assert [one["photo_id"] for one in pages[2]] == [one["photo_id"] for one in pages[1][5:]]
