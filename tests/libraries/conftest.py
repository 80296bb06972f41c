"""The tiny network and small photos of the gallery's own tests."""

from tests.index_builder.conftest import network, one_thread, options, other_network, photos

__all__ = ["network", "one_thread", "options", "other_network", "photos"]
