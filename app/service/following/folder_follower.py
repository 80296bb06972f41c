"""Keeps the gallery in line with its folders of photos while it is served.

What the system announces is looked at within seconds. Now and then the times of all folders are looked at, and less
often every file: network shares announce nothing, and the system may run out of watches. Whatever changes while a
change of the gallery runs is kept for the next one. A change that failed is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from app.logs import get_logger
from app.network_folders import share_kind
from app.service.changes.gallery_changes import GalleryChanges
from app.service.following.folder_events import FolderEvents
from app.service.following.look_schedule import LookSchedule
from app.service_errors import RequestError
from app.settings import Settings
from index_builder.gallery_errors import GalleryAwayError
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.scope import Scope

_log = get_logger("app.service.following.folder_follower")
_GLANCE_S = 5.0  # between looks at what cannot be announced: whether a share was mounted, whether events still come
_WATCHED_WITHIN_S = 30.0
_EVENTS_AGAIN_S = 60.0
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 900.0


class FolderFollower:
    """Follows the folders of photos.

    Args:
        settings: how to follow, and where the gallery is.
        changes: brings the gallery in line.

    Attributes:
        by: what it follows by at the moment: events, or rescans alone; None while it does not follow.
    """

    def __init__(self, settings: Settings, changes: GalleryChanges) -> None:
        self._settings, self._changes = settings, changes
        self._pending = Scope()
        self._announced: set[str] = set()
        self._woken = asyncio.Event()
        self._events: FolderEvents | None = None
        self._events_due_s = 0.0
        self._said: str | None = None
        self.by: Literal["events", "rescans"] | None = None

    async def follow(self) -> None:
        """Follow for ever, beginning with a look at every file.

        Raises:
            OSError: the system announces nothing, and rescans are turned off.
        """
        self._events_due_s = 0.0
        try:
            while True:
                folders = await self._folders()
                self._say_shares(folders)
                settings = self._settings
                looks = await asyncio.to_thread(
                    LookSchedule, folders, settings.gallery, settings.rescan_s, settings.full_rescan_s
                )
                await self._follow(folders, looks)
                self._stop_events()
        finally:
            self.by = None
            self._stop_events()

    async def _follow(self, folders: PhotoFolders, looks: LookSchedule) -> None:
        """Follow until the gallery remembers other folders or other rules."""
        pause_s, again_s = _FIRST_PAUSE_S, 0.0
        while folders == await self._folders():
            if await asyncio.to_thread(looks.replaced):
                self._stop_events()
            await self._listen(folders, looks)
            await self._look(looks)
            if self._pending and time.monotonic() >= again_s:
                scope, self._pending = self._pending, Scope()
                if await self._changes.reconcile(scope):
                    pause_s = _FIRST_PAUSE_S
                else:
                    self._pending.add(scope)
                    again_s = time.monotonic() + pause_s
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            await self._wait()

    async def _look(self, looks: LookSchedule) -> None:
        """Gather what was announced, and what is due."""
        announced, self._announced = self._announced, set()
        if announced:
            scope = await asyncio.to_thread(looks.at, announced)
            _log.info("the folder of photos changed", paths=len(announced))
            self._pending.add(scope)
        self._pending.add(await asyncio.to_thread(looks.due))

    async def _wait(self) -> None:
        """Until something is announced, but not for long."""
        try:
            await asyncio.wait_for(self._woken.wait(), _GLANCE_S)
        except TimeoutError:
            return
        self._woken.clear()

    async def _folders(self) -> PhotoFolders:
        """The folders of photos, once it is known where they are."""
        while True:
            try:
                return await asyncio.to_thread(self._changes.folders)
            except (RequestError, GalleryAwayError):  # they are those of a gallery that is not loaded yet
                await asyncio.sleep(_GLANCE_S)

    async def _listen(self, folders: PhotoFolders, looks: LookSchedule) -> None:
        """Have changes announced, if that is wanted and possible, and again if it ended."""
        if self._settings.watch_events == "off" or not folders.local:
            self.by = "rescans"
            if not folders.local and not looks.happen:
                raise OSError("a bucket announces no changes, and rescans are turned off")
            return
        if self._events is not None and self._events.alive:
            return
        if self._events is not None:
            self._say("events of the folder of photos are lost and asked for again", self._events.error)
            self._stop_events()
            looks.soon()
        if time.monotonic() < self._events_due_s:
            return
        loop = asyncio.get_running_loop()

        def announce(paths: set[str]) -> None:
            loop.call_soon_threadsafe(self._note, paths)

        self._events = FolderEvents(
            folders.local,
            looks.matters,
            announce,
        )
        await asyncio.to_thread(self._events.start, _WATCHED_WITHIN_S)
        if (error := self._events.error) is None:
            self.by = "events"
            return
        self._stop_events()
        self._events_due_s = time.monotonic() + _EVENTS_AGAIN_S
        self.by = "rescans"
        if not looks.happen:
            raise OSError(f"the system announces no changes: {error}")
        self._say("the system announces no changes of the folder of photos, which is looked at now and then", error)

    def _note(self, paths: set[str]) -> None:
        self._announced |= paths
        self._woken.set()

    def _stop_events(self) -> None:
        if self._events is not None:
            self._events.stop()
            self._events = None

    def _say(self, what: str, error: BaseException | None) -> None:
        """Log once what is said again and again."""
        reason = str(error)
        if reason != self._said:
            advice = "raise fs.inotify.max_user_watches" if "limit" in reason else None
            _log.warning(what, reason=reason, rescan_s=self._settings.rescan_s, advice=advice)
        self._said = reason

    def _say_shares(self, folders: PhotoFolders) -> None:
        for folder in folders.in_buckets:
            _log.info(
                "the folder of photos lies in a bucket, which announces no changes: rescans find them",
                folder=str(folder.path),
                rescan_s=self._settings.rescan_s,
            )
        for path in folders.local:
            if (kind := share_kind(path)) is not None:
                _log.info(
                    "the folder of photos lies on a share: what other machines change there is found by rescans",
                    folder=str(path),
                    kind=kind,
                    rescan_s=self._settings.rescan_s,
                )
