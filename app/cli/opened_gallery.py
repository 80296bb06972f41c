"""A gallery on this machine, opened for one search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.search.searcher import TwoStageSearcher
    from app.settings import Settings


def open_searcher(settings: Settings) -> TwoStageSearcher:
    """The searcher of the latest version of the gallery. Tokens are read from disk as they are needed."""
    from app.search.searcher import TwoStageSearcher
    from index_builder import GallerySnapshot
    from model.checkpoints.files import load_checkpoint

    recall = settings.recall_settings
    if recall.device == "auto":
        recall = replace(recall, device="cpu")  # putting an index on a GPU takes longer than one search
    network = load_checkpoint(settings.checkpoint, settings.device, settings.dtype)
    snapshot = GallerySnapshot.load(
        settings.gallery,
        network.identity,
        photos=settings.photo_folders,
        recall=recall,
        hash_projection=network.hash_projection,
        device=network.device,
        dtype=network.dtype,
        cache_bytes=0,
    )
    return TwoStageSearcher(network, snapshot)
