"""Encodings of pictures that searched lately: found again, bounded, and the same for every page of an answer."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from app.main import create_app
from app.search.preparing import prepare_parts
from app.search.query_and_answer import Query
from app.search.query_parts import PartWeights, Picture, QueryParts, name_of
from app.search.remembered_encodings import RememberedEncodings
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.images.sent_picture import DrawnSketch
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
    for capacity, encoded in ((10 * BYTES, 2), (0, 3)):
        encode = Encoder()
        found = RememberedEncodings(capacity).each([pictured(1), pictured(2), pictured(1)], encode)
        assert values(found) == [1, 2, 1]
        assert encode.asked == [encoded], "where nothing is remembered, each is encoded anew"


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


def test_a_search_goes_on_where_the_memory_is_too_short_to_remember(monkeypatch):
    encode, remembered = Encoder(), RememberedEncodings(10 * BYTES)

    def short(_self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as injected:
        injected.setattr(Encoding, "clone", short)
        assert values(remembered.each([pictured(1)], encode)) == [1]
    assert values(remembered.each([pictured(1)], encode)) == [1]
    assert values(remembered.each([pictured(1)], encode)) == [1]
    assert encode.asked == [1, 1]


def test_a_copy_of_an_encoding_has_its_mask():
    mask = torch.tensor([[True, True, False]])
    one = Encoding(torch.ones(1, 4), torch.ones(1, 3, 4), torch.zeros(1, 2, dtype=torch.int64), mask)
    copied = one.clone()
    assert copied.mask is not None
    assert copied.mask.data_ptr() != mask.data_ptr()
    assert torch.equal(copied.mask, mask)
    assert one.nbytes == copied.nbytes == 4 * 4 + 3 * 4 * 4 + 2 * 8 + 3


def test_a_name_tells_pictures_and_kinds_apart():
    one, other = Image.new("RGB", (4, 4), "white"), Image.new("RGB", (4, 4), (255, 255, 254))
    assert name_of(one, "sketch") == name_of(one.copy(), "sketch")
    assert len({name_of(one, "sketch"), name_of(other, "sketch"), name_of(one, "photo")}) == 3


def test_a_remembered_sketch_finds_the_same_with_other_options_and_in_another_version(
    shared_gallery, network, monkeypatch
):
    snapshot, remembered = GallerySnapshot.load(shared_gallery, network.identity), RememberedEncodings(1_000_000)
    plain = TwoStageSearcher(network, snapshot)
    image = torch.rand(3, *[network.preprocess.image_size] * 2, generator=torch.Generator().manual_seed(1))
    queries = (Query(top_k=3), Query(top_k=13), Query(top_k=5, rerank=False))
    expected = [next(plain.search_many([QueryParts(image)], [query])).results for query in queries]
    real, asked = type(network).encode_sketch, []

    def encode(self, sketches):
        asked.append(len(sketches))
        return real(self, sketches)

    monkeypatch.setattr(type(network), "encode_sketch", encode)
    for query, results in zip(queries, expected, strict=True):
        searcher = TwoStageSearcher(network, snapshot, remembered=remembered)
        assert next(searcher.search_many([QueryParts(image, sketch_name=b"one")], [query])).results == results
    assert asked == [1]


def test_what_has_no_weight_is_not_encoded():
    image = torch.zeros(3, 2, 2)
    parts = QueryParts(image, photo=image, sketch_name=b"one", photo_name=b"other", weights=PartWeights(sketch=0.0))
    assert parts.sketch_picture is None
    assert parts.photo_picture is not None
    assert parts.photo_picture.name == b"other"


def test_a_sketch_and_a_photo_of_the_same_pixels_have_names_of_their_own(shared_gallery, network):
    searcher = TwoStageSearcher(network, GallerySnapshot.load(shared_gallery, network.identity))
    pixels = Image.new("RGB", [network.preprocess.image_size] * 2, "white")
    parts = prepare_parts(searcher, sketch=lambda: DrawnSketch(pixels, little_ink=False), photo=lambda: pixels)
    assert parts.sketch_name == name_of(pixels, "sketch")
    assert parts.photo_name == name_of(pixels, "photo")


@pytest.mark.parametrize(("capacity", "encoded"), [(1_000_000, 1), (0, 4)])
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
        client.post(
            "/explain", files={"sketch": sketch()}, data={"photo_id": pages[0][0]["photo_id"]}
        ).raise_for_status()
    assert sum(asked) == encoded
    assert [one["photo_id"] for one in pages[0]] == [one["photo_id"] for one in pages[1][:5]]
    assert [one["photo_id"] for one in pages[2]] == [one["photo_id"] for one in pages[1][5:]]
