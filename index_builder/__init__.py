"""Turns a folder of photos into a gallery on disk, and finds candidates in it.

Names are imported when first used, so that the command line starts without torch, FAISS and Lance.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index_builder.index.settings import RecallSettings
    from index_builder.ingest.build_options import BuildOptions
    from index_builder.ingest.build_report import BuildProgress, BuildReport
    from index_builder.ingest.changes import add_photos, build_gallery, remove_photos, sync_gallery
    from index_builder.ingest.rebuild import rebuild_gallery
    from index_builder.photo_folders import PhotoFolders
    from index_builder.photo_record import PhotoRecord
    from index_builder.reading.duplicates import DuplicateGroup, find_duplicates
    from index_builder.reading.export import GalleryInfo, export_descriptors, gallery_info
    from index_builder.reading.snapshot import GallerySnapshot
    from index_builder.reading.verify import verify_gallery
    from index_builder.scanning.passed_over import Skipped
    from index_builder.store.gallery import Gallery, latest_version
    from index_builder.store.metadata import GalleryMetadata

_HOMES = {
    "BuildOptions": "index_builder.ingest.build_options",
    "BuildProgress": "index_builder.ingest.build_report",
    "BuildReport": "index_builder.ingest.build_report",
    "DuplicateGroup": "index_builder.reading.duplicates",
    "Gallery": "index_builder.store.gallery",
    "GalleryInfo": "index_builder.reading.export",
    "GalleryMetadata": "index_builder.store.metadata",
    "GallerySnapshot": "index_builder.reading.snapshot",
    "PhotoFolders": "index_builder.photo_folders",
    "PhotoRecord": "index_builder.photo_record",
    "RecallSettings": "index_builder.index.settings",
    "Skipped": "index_builder.scanning.passed_over",
    "add_photos": "index_builder.ingest.changes",
    "build_gallery": "index_builder.ingest.changes",
    "find_duplicates": "index_builder.reading.duplicates",
    "export_descriptors": "index_builder.reading.export",
    "gallery_info": "index_builder.reading.export",
    "latest_version": "index_builder.store.gallery",
    "rebuild_gallery": "index_builder.ingest.rebuild",
    "remove_photos": "index_builder.ingest.changes",
    "sync_gallery": "index_builder.ingest.changes",
    "verify_gallery": "index_builder.reading.verify",
}

__all__ = [
    "BuildOptions",
    "BuildProgress",
    "BuildReport",
    "DuplicateGroup",
    "Gallery",
    "GalleryInfo",
    "GalleryMetadata",
    "GallerySnapshot",
    "PhotoFolders",
    "PhotoRecord",
    "RecallSettings",
    "Skipped",
    "add_photos",
    "build_gallery",
    "export_descriptors",
    "find_duplicates",
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
