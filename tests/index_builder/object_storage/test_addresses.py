"""Addresses of places in object storage, taken apart, or refused without telling a key."""

from __future__ import annotations

import pytest

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.photo_places import BucketFolder


@pytest.mark.parametrize(
    ("address", "root", "key"),
    [
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/a/b/", "s3://bucket", "a/b"),
        ("az://container/ä ö/+~@", "az://container", "ä ö/+~@"),
    ],
)
def test_addresses_of_galleries(address, root, key):
    place = BucketPath.parse(address)
    assert (place.root, place.key) == (root, key)
    assert BucketPath.parse(str(place)) == place


def test_photos_may_lie_where_no_gallery_may():
    assert BucketFolder.of("s3://bucket/a?b#c/%20") == BucketFolder("s3", "bucket", "a?b#c/%20")


@pytest.mark.parametrize("read_as", [BucketPath.parse, BucketFolder.of])
@pytest.mark.parametrize(
    "rest",
    [
        "b/g?sv=2025&sig=hush",
        "b/g?X-Amz-Signature=hush",
        "b/g?x-goog-signature=hush",
        "b/g?AWSAccessKeyId=hush",
        "b/g?session_token=hush",
        "b/g%3Fsig%3Dhush",
        "b?sig=hush",
        "b?other=hush",
        "id:hu/sh@b/g",
        "/id:hush@b/g",
    ],
)
def test_an_address_with_a_key_is_refused_and_not_told(read_as, rest):
    with pytest.raises(GalleryError) as told:
        read_as(f"s3://{rest}")
    assert "hu" not in str(told.value)
    assert "other=" in rest or "set the credentials in the environment" in str(told.value)
