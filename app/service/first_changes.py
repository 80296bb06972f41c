"""What a service changes by itself when it starts: uploads that were left over, a first build, followed folders."""

from __future__ import annotations

import asyncio

from app.logs import get_logger
from app.service.background import Background
from app.service.changes.gallery_changes import GalleryChanges
from app.service.following.folder_follower import FolderFollower
from app.settings import Settings
from index_builder.gallery_errors import GalleryAwayError

FOLLOWS = "follow_folder"
"""Name of the task that follows the folders of photos."""
_AWAY_S = 5.0  # between looks for a gallery whose object storage does not answer
_log = get_logger(__name__)


async def begin_changes(
    settings: Settings, changes: GalleryChanges, follower: FolderFollower, background: Background
) -> None:
    """Begin them in the background, as soon as it is known whether there is a gallery."""
    exists = await _exists(changes)
    if settings.write_key is not None and exists:
        background.spawn(changes.adopt_uploads(), "adopt_uploads")
    if settings.watch:
        background.keep(follower.follow, FOLLOWS)
    elif settings.photos and not exists:
        background.spawn(changes.reconcile(), "build")


async def _exists(changes: GalleryChanges) -> bool:
    said = False
    while True:
        try:
            return await asyncio.to_thread(changes.exists)
        except GalleryAwayError as error:
            if not said:
                _log.error("the gallery cannot be reached and is asked for again and again", reason=str(error))
            said = True
            await asyncio.sleep(_AWAY_S)
