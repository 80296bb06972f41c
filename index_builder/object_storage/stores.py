"""The connection to a bucket, and what its library raises as errors of the system."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

from model.errors import ConfigurationError

REQUEST_S, SILENCE_S = 30, 20
"""Bounds of one request, and of the silence in it. Lance has bounds of its own."""
TRIES, TRY_FOR_S = 4, 30  # of one request; a store that is busy answers 503 for a moment
# What may stand in messages of a store: signatures and keys that came with an address.
_SECRET = re.compile(r"(?i)((?:signature|credential|token|key|secret|sig)[\w-]*=)[^&\s\"]+")


class StoreError(OSError):
    """The store does not answer as it should."""


class StoreRefusedError(StoreError, PermissionError):
    """The store refuses the credentials, or there are none."""


class StaleObjectError(FileExistsError):
    """An object is not the one that was read: somebody else has replaced it, or made it."""


@lru_cache(maxsize=64)
def open_store(address: str, request_s: int = REQUEST_S) -> Any:
    """A bucket, or a place in it. Credentials, region and endpoint come from the usual environment variables.

    Args:
        address: such as `s3://bucket` or `s3://bucket/folder`, quoted as in a URL.
        request_s: seconds that one request may take.

    Raises:
        ConfigurationError: obstore is not installed, or the environment lacks what this kind of store needs.
    """
    try:
        from obstore.store import from_url
    except ImportError:
        raise ConfigurationError(f"{address} needs an extra: pip install 'sketchseek[object-storage]'") from None
    try:
        return from_url(
            address,
            client_options={
                "timeout": f"{request_s}s",
                "read_timeout": f"{SILENCE_S}s",
                "allow_http": _http_is_allowed(),
            },
            retry_config={"max_retries": TRIES, "retry_timeout": timedelta(seconds=TRY_FOR_S)},
        )
    except Exception as error:
        what = first_line(error).rpartition(": ")[2]
        raise ConfigurationError(f"{address} cannot be opened: {what}; set it in the environment") from error


def _http_is_allowed() -> bool:
    """What the usual variables say, which options of the client would hide."""
    named = (os.environ.get(f"{kind}_ALLOW_HTTP", "") for kind in ("AWS", "GOOGLE", "AZURE"))
    return any(value.lower() in ("true", "1") for value in named)


@contextmanager
def os_errors() -> Iterator[None]:
    """Errors of a store as a file system has them. Their text names no address, which may carry a key.

    Raises:
        FileNotFoundError: there is no such object or bucket.
        StoreRefusedError: the credentials are missing or not enough.
        StaleObjectError: a condition does not hold.
        StoreError: the store does not answer as it should.
        OSError: an object's name is no path.
    """
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, _no_bucket(str(error)) or "there is no such object") from error
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise StaleObjectError(errno.EEXIST, "there is such an object already") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StoreRefusedError(errno.EACCES, "the store refuses these credentials") from error
    except exceptions.InvalidPathError as error:
        name = str(error).partition('"')[2].partition('"')[0]
        raise OSError(errno.EINVAL, f"the name of an object in it, {name!r}, is no path; rename it") from error
    except UnicodeDecodeError as error:
        raise FileNotFoundError(errno.ENOENT, "no object has such a name") from error
    except (exceptions.BaseError, ValueError) as error:
        raise _general(str(error)) from error


def first_line(error: BaseException) -> str:
    """What happened, in one line of at most 200 characters, without what may be secret."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return _SECRET.sub(r"\1...", line)[:200]


def _general(said: str) -> OSError:
    if (missing := _no_bucket(said)) is not None:
        return FileNotFoundError(errno.ENOENT, missing)
    if said.startswith("Could not parse path"):
        return FileNotFoundError(errno.ENOENT, "no object has such a name")
    if any(asked in said for asked in ("/latest/", "/metadata/", "/computeMetadata/", "token request")):
        return StoreRefusedError(errno.EACCES, "no credentials are set in the environment")
    if "403 Forbidden" in said or "401 Unauthorized" in said:
        return StoreRefusedError(errno.EACCES, "the store refuses these credentials")
    return StoreError(errno.EIO, "the store does not answer as it should")


def _no_bucket(said: str) -> str | None:
    names = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
    return "there is no such bucket" if any(name in said for name in names) else None
