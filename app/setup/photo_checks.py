"""Whether the service may read the photos, and whether it can notice their changes."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from app.network_folders import share_kind
from app.settings import Settings
from app.setup.finding import Finding
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.scanning.exclusions import Exclusions, FolderRules

INOTIFY = Path("/proc/sys/fs/inotify")
_NAMED = 3  # unreadable places that are named; more are counted
_USUAL_WATCHES = 524_288


@dataclass
class Survey:
    """What lies below the photos' folders.

    Attributes:
        folders: how many there are, themselves included. Links are not followed, excluded folders not counted.
        unreadable: folders that cannot be listed, and files that cannot be read. Of each folder, one file is tried.
    """

    folders: int = 0
    unreadable: list[str] = field(default_factory=list)


def survey(photos: PhotoFolders) -> Survey:
    """Walk through the photos' folders on this machine, without those that a gallery leaves out."""
    found, exclusions = Survey(), Exclusions(photos)
    waiting: list[tuple[bytes, FolderRules | None]] = [
        (os.fsencode(folder.name), None) for folder in photos.folders if isinstance(folder.path, Path)
    ]
    while waiting:
        folder, around = waiting.pop()
        place = photos.absolute(folder)
        found.folders += 1
        file: bytes | None = None
        try:
            with os.scandir(place) as entries:
                rules, _ = exclusions.entered(folder, around)
                for entry in entries:
                    path = folder + b"/" + entry.name if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if rules.for_folder(path, entry.name, entry.path) is None:
                            waiting.append((path, rules))
                    elif file is None and entry.is_file(follow_symlinks=False):
                        file = entry.path if rules.for_file(path, entry.name) is None else None
        except OSError:
            found.unreadable.append(os.fsdecode(place))
        if file is not None and not os.access(file, os.R_OK):
            found.unreadable.append(os.fsdecode(file))
    return found


def photos_finding(settings: Settings, photos: PhotoFolders, found: Survey) -> Finding:
    """Whether this user may read the photos, and write where uploads go."""
    for folder in photos.folders:
        if isinstance(folder.path, BucketFolder):
            try:
                Bucket(folder.path).check()
            except OSError as error:
                says = f"{folder.path} cannot be read: {error.strerror}"
                return Finding("photos", "problem", says, "check the address, and the credentials in the environment")
        elif not folder.path.is_dir():
            says = f"{folder.path} is not there, so its photos cannot be shown"
            return Finding("photos", "problem", says, "mount it, or name another folder with SKETCHSEEK_PHOTOS")
    if found.unreadable:
        more = len(found.unreadable) - _NAMED
        named = ", ".join(repr(place) for place in found.unreadable[:_NAMED]) + (
            f" and {more} more" if more > 0 else ""
        )
        closed = [folder for folder in photos.folders if str(folder.path) in found.unreadable]
        return Finding(
            "photos",
            "problem" if closed else "warning",
            f"user {os.getuid()} may not read {named}, so photos are missing",
            "chmod -R a+rX the photos, or run as a user who may read them (compose: PUID and PGID; SELinux: `:z`)",
        )
    uploads = photos.upload_folder.path
    if settings.write_key is not None and isinstance(uploads, Path) and not os.access(uploads, os.W_OK):
        says = f"user {os.getuid()} may not write to {uploads}: uploads are refused"
        return Finding("photos", "warning", says, f"give it to this user: chown -R {_user()} {uploads}")
    return Finding("photos", "ok", f"{photos} can be read")


def watching_finding(photos: PhotoFolders, found: Survey) -> Finding:
    """Whether the system reports changes in every folder of the photos."""
    for bucket in photos.in_buckets:
        says = f"{bucket.path} lies in a bucket, which announces no changes"
        return Finding("watching", "warning", says, "rescans find them, every SKETCHSEEK_RESCAN_S seconds")
    for path in photos.local:
        if (kind := share_kind(path)) is not None:
            says = f"{path} lies on {kind}, which does not report what others change there"
            mend = "rescans find them; for a busy share, set SKETCHSEEK_RESCAN_S=60"
            return Finding("watching", "warning", says, mend)
    most = _limit("max_user_watches")
    if most is not None and found.folders > most:
        return Finding(
            "watching",
            "warning",
            f"{found.folders} folders of photos, and the system watches at most {most} (fs.inotify.max_user_watches)",
            f"sysctl fs.inotify.max_user_watches={max(_USUAL_WATCHES, 2 * found.folders)}, on a container's host",
        )
    if not _an_instance_is_free():
        return Finding(
            "watching",
            "warning",
            f"other programs of this user hold all inotify instances ({_limit('max_user_instances')})",
            "sysctl fs.inotify.max_user_instances=1024, on a container's host",
        )
    return Finding("watching", "ok", f"{found.folders} folders" + ("" if most is None else f", of {most} at most"))


def _limit(name: str) -> int | None:
    try:
        return int((INOTIFY / name).read_text())
    except (OSError, ValueError):
        return None


def _an_instance_is_free() -> bool:
    """Whether an inotify instance can be made: the system does not say how many are taken."""
    system = ctypes.CDLL(None, use_errno=True)
    if not hasattr(system, "inotify_init1"):
        return True
    handle = system.inotify_init1(os.O_CLOEXEC)
    if handle >= 0:
        os.close(handle)
    return handle >= 0 or ctypes.get_errno() != errno.EMFILE


def _user() -> str:
    return f"{os.getuid()}:{os.getgid()}"
