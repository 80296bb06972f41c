"""A Milvus server: reached within bounded time, with its errors as ours and without its token in any of them."""

from __future__ import annotations

import logging
import threading
import time
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from index_builder.gallery_errors import CollectionGoneError, RecallServerDeniedError, RecallServerError
from model.errors import ConfigurationError, MissingExtraError

CONNECT_S = 3.0
"""Seconds that a connection may take."""
SEARCH_S = 5.0
"""Seconds that a search may take."""
CHANGE_S = 60.0
"""Seconds that one step of a change may take."""
_PAUSE_S = 2.0  # for which nothing is tried after a failure: each try would hold up every search
_GONE = frozenset({100, 101})  # codes of Milvus: no such collection; not loaded
_SCHEMES = ("http", "https", "tcp")
Purpose = Literal["change", "look", "search"]
"""What a call is for: to fill a collection, to see whether it answers, or to search in it."""


class MilvusServer:
    """The server at one address; safe to use from several threads. Connects when it is first used.

    Args:
        url: such as http://milvus:19530, or a file that ends in .db for Milvus Lite.
        token: "user:password" or an API key, or None.

    Attributes:
        shown: the address for people, without credentials.
        filled: the latest version that this process has seen whole, by collection: its commit, and its keys, rising.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url, self._token = url, token
        self.shown = shown_address(url)
        self.filled: dict[str, tuple[int, Any]] = {}
        self._lock = threading.Lock()
        self._client: Any = None
        self._failed_at = 0.0
        self._problem: RecallServerError | None = None

    @property
    def problem(self) -> str | None:
        """What the last search or look met; None if it went well."""
        return None if self._problem is None else str(self._problem)

    def call(self, method: str, *arguments: Any, seconds: float, purpose: Purpose = "change", **options: Any) -> Any:
        """What `MilvusClient` answers.

        Args:
            method: of the client.
            arguments, options: its own.
            seconds: that it may take.
            purpose: a search fails at once if another one, or a look, failed a moment ago. A change that fails says
                nothing of searches: Milvus may refuse new rows and go on answering.

        Raises:
            RecallServerError: the server cannot be reached, is too slow, or cannot do it.
            CollectionGoneError: it has no such collection, or has not loaded it.
            RecallServerDeniedError: it does not accept the token.
            MissingExtraError: pymilvus is not installed.
        """
        if purpose == "search" and self._problem is not None and time.monotonic() - self._failed_at < _PAUSE_S:
            raise type(self._problem)(str(self._problem))
        pymilvus = load_pymilvus()
        import grpc

        try:
            answer = getattr(self._connected(pymilvus), method)(*arguments, timeout=seconds, **options)
        except (pymilvus.MilvusException, grpc.RpcError, OSError) as error:
            told = self._told(error)
            if purpose != "change" and not isinstance(told, CollectionGoneError):
                self._problem, self._failed_at = told, time.monotonic()
            raise told from error
        if purpose != "change":
            self._problem = None
        return answer

    def _connected(self, pymilvus: Any) -> Any:
        with self._lock:
            if self._client is None:
                self._client = pymilvus.MilvusClient(uri=self._url, token=self._token or "", timeout=CONNECT_S)
            return self._client

    def _told(self, error: Exception) -> RecallServerError:
        # A refused token shows in the cause alone. Beyond, gRPC's errors are causes of each other.
        code, text = getattr(error, "code", None), f"{error} {error.__cause__}".lower()
        if callable(code):  # gRPC's own errors
            code = getattr(code(), "name", None)
        if "unauthenticated" in text or "auth check failure" in text:
            return RecallServerDeniedError(
                f"Milvus at {self.shown} does not accept the token; check SKETCHSEEK_RECALL_TOKEN"
            )
        if code in _GONE:
            return CollectionGoneError(f"Milvus at {self.shown} has lost the photos; they are put there again")
        if isinstance(code, int) and code not in (0, 1, 2):
            return RecallServerError(f"Milvus at {self.shown} cannot do this (its error {code}); its log says why")
        return RecallServerError(f"Milvus at {self.shown} does not answer; searches work again once it does")


def load_pymilvus() -> Any:
    """The module pymilvus.

    Raises:
        MissingExtraError: not installed.
    """
    try:
        import pymilvus
    except ImportError as error:
        raise MissingExtraError("recall on Milvus needs pymilvus: pip install 'sketchseek[milvus]'") from error
    # It logs every error that it raises, with the address as it was given, which may hold a password.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus


@lru_cache(maxsize=8)
def server_at(url: str, token: str | None) -> MilvusServer:
    """The server at an address; the same object for the same address, so that versions share its connection."""
    return MilvusServer(url, token)


def check_address(url: str | None) -> None:
    """Check that an address can be one of Milvus.

    Raises:
        ConfigurationError: it is missing, or of another kind.
    """
    if not url:
        raise ConfigurationError("recall on Milvus needs its address: set SKETCHSEEK_RECALL_URL=http://HOST:19530")
    if not url.endswith(".db") and not _is_address(url):
        raise ConfigurationError(
            "SKETCHSEEK_RECALL_URL is http://HOST:19530, https://HOST, or a file that ends in .db; "
            "put a user and a password into SKETCHSEEK_RECALL_TOKEN"
        )


def _is_address(url: str) -> bool:
    """Whether it has a known scheme, a host and no bad port. A password with a slash cuts it short, and leaves an @."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its message may hold a piece of the password, so nobody is told it
        return False
    return parts.scheme in _SCHEMES and bool(parts.hostname) and "@" not in f"{parts.path}{parts.query}{parts.fragment}"


def shown_address(url: str) -> str:
    """An address for people: host and port, or the file."""
    parts = urlsplit(url)
    if not parts.hostname:
        return url.rpartition("/")[2]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if parts.port is None else f"{host}:{parts.port}"
