"""Addresses of places in object storage, taken apart."""

from __future__ import annotations

import re

from index_builder.gallery_errors import GalleryError

SCHEMES = ("s3", "gs", "az")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The query of an address that was signed, or that carries a key.
_SIGNED = re.compile(
    r"(?i)(?:[?&;#]|%3f|%26)"
    r"(?:sig|x-(?:amz|goog|ms)-[\w-]+|[\w-]*(?:signature|token|secret|credential|password|key|keyid|accessid))(?:=|%3d)"
)


def is_address(text: str) -> bool:
    """Whether a text is written as an address, and not as a path."""
    return _ADDRESS.fullmatch(text) is not None


def parts_of(address: str) -> tuple[str, str, str]:
    """Scheme, bucket, and the path in it without a slash at either end; "" is the whole bucket.

    The path is taken as it is: `%20` in it means these three characters.

    Raises:
        GalleryError: it names no bucket that this release can read, or carries a key. What may be a key is not told.
    """
    found = _ADDRESS.fullmatch(address)
    scheme, rest = found.groups() if found else ("", address)
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise GalleryError(f"{scheme}:// is no kind of address that is known; use {known} or the path of a folder")
    bucket, _, path = rest.partition("/")
    shown = address.partition("?")[0]
    # A key may hold a slash itself. Then the `@` stands behind it.
    if "@" in bucket or ("@" in path and not _BUCKET.fullmatch(bucket)) or _SIGNED.search(rest):
        raise GalleryError(
            f"an address {scheme}:// with a user, key or signature in it is refused, as the gallery would store it; "
            "leave that out and set the credentials in the environment"
        )
    if not _BUCKET.fullmatch(bucket):
        raise GalleryError(f"{shown} names no bucket; write {scheme}://BUCKET/FOLDER")
    parts = path.strip("/").split("/")
    if parts != [""] and any(part in ("", ".", "..") for part in parts):
        raise GalleryError(f"{shown} has an empty part, `.` or `..`; write {scheme}://BUCKET/FOLDER")
    return scheme, bucket, "/".join(parts)
