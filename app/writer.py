"""A process that writes a gallery and serves nothing: it follows the folders of photos as a service does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from app.logs import get_logger
from app.metrics import Metrics
from app.service.background import Background
from app.service.changes.gallery_changes import GalleryChanges
from app.service.changes.served import NothingServed
from app.service.following.folder_follower import FolderFollower
from app.settings import Settings
from index_builder import BuildOptions, Gallery
from index_builder.gallery_errors import GalleryAwayError, GalleryNotFoundError
from model.networks.network import Network

_log = get_logger("app.writer")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def follow_folders(settings: Settings, network: Network, options: BuildOptions) -> None:
    """Keep the gallery in line with its folders until SIGINT or SIGTERM. Builds it if there is none.

    A change that is under way then stops at its next batch. What was committed stays.

    Args:
        settings: where the gallery and its folders are, and how to follow them.
        network: encodes the photos.
        options: how to build.

    Raises:
        GalleryError: there is no gallery and no folder to build it from, or it belongs to another checkpoint.
    """
    try:
        opened = Gallery.open(settings.gallery)
        opened.metadata(opened.dataset()).check(network.identity, network.preprocess.identity)
    except GalleryNotFoundError:
        if settings.photos is None:
            raise
    except GalleryAwayError as error:  # followed as soon as its storage answers
        _log.error("the gallery cannot be reached and is asked for again and again", reason=str(error))
    asyncio.run(_follow(settings, network, options))


async def _follow(settings: Settings, network: Network, options: BuildOptions) -> None:
    metrics, ended = Metrics(), asyncio.Event()
    changes = GalleryChanges(settings, network, NothingServed(), metrics, options)
    background = Background(metrics)
    restore = _on_signals(ended.set)
    try:
        _log.info("following the folders of photos", gallery=str(settings.gallery))
        background.keep(FolderFollower(settings, changes).follow, "follow_folder")
        await ended.wait()
        _log.info("ending")
    finally:
        changes.stop()
        await background.stop()
        await asyncio.to_thread(changes.close)
        restore()
    _log.info("stopped")


def _on_signals(end: Callable[[], None]) -> Callable[[], None]:
    """Call `end` at the first signal; the function that is returned puts back what was there."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(end))

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
