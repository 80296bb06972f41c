"""Turns a folder of photos into a gallery on disk, and finds candidates in it.

Names are imported when first used, so that the command line starts without torch, FAISS and Lance.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index_builder.build import add_photos, build_gallery, remove_photos, sync_gallery
    from index_builder.export import GalleryInfo, export_descriptors, gallery_info
    from index_builder.gallery import Gallery, GalleryMetadata, latest_version
    from index_builder.photos import PhotoRecord
    from index_builder.pipeline import BuildOptions, BuildProgress, BuildReport
    from index_builder.rebuild import rebuild_gallery
    from index_builder.recall import RecallSettings
    from index_builder.scan import Skipped
    from index_builder.snapshot import GallerySnapshot
    from index_builder.verify import verify_gallery

_HOMES = {
    "BuildOptions": "index_builder.pipeline",
    "BuildProgress": "index_builder.pipeline",
    "BuildReport": "index_builder.pipeline",
    "Gallery": "index_builder.gallery",
    "GalleryInfo": "index_builder.export",
    "GalleryMetadata": "index_builder.gallery",
    "GallerySnapshot": "index_builder.snapshot",
    "PhotoRecord": "index_builder.photos",
    "RecallSettings": "index_builder.recall",
    "Skipped": "index_builder.scan",
    "add_photos": "index_builder.build",
    "build_gallery": "index_builder.build",
    "export_descriptors": "index_builder.export",
    "gallery_info": "index_builder.export",
    "latest_version": "index_builder.gallery",
    "rebuild_gallery": "index_builder.rebuild",
    "remove_photos": "index_builder.build",
    "sync_gallery": "index_builder.build",
    "verify_gallery": "index_builder.verify",
}

__all__ = [
    "BuildOptions",
    "BuildProgress",
    "BuildReport",
    "Gallery",
    "GalleryInfo",
    "GalleryMetadata",
    "GallerySnapshot",
    "PhotoRecord",
    "RecallSettings",
    "Skipped",
    "add_photos",
    "build_gallery",
    "export_descriptors",
    "gallery_info",
    "latest_version",
    "rebuild_gallery",
    "remove_photos",
    "sync_gallery",
    "verify_gallery",
]


def __getattr__(name: str) -> Any:
    """The public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
