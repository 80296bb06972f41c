"""The tiny network and small photos of the gallery's own tests, and a gallery of it to serve."""

from tests.app.conftest import _clean_environment, shared_gallery, shared_photos
from tests.index_builder.conftest import network, one_thread, options, other_network, photos
from tests.object_store import object_server, object_store

__all__ = [
    "_clean_environment",
    "network",
    "object_server",
    "object_store",
    "one_thread",
    "options",
    "other_network",
    "photos",
    "shared_gallery",
    "shared_photos",
]
