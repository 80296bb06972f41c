"""The service that the client is tested against is the one of `tests.app`."""

from tests.app.conftest import checkpoint, gallery, network, photos, shared_gallery, shared_photos

__all__ = ["checkpoint", "gallery", "network", "photos", "shared_gallery", "shared_photos"]
