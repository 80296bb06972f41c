"""Addresses as people write them: the host to listen on, the path behind a proxy, the origins of other pages."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+){1,16}")
_LONGEST_PREFIX = 200
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_ENCODED_OTHERWISE = re.compile("[\u00df\u03c2\u200c\u200d]")  # by browsers of today than by Python's codec
_NO_ORIGIN = (
    "an origin is a scheme and a host, such as https://shop.example or http://localhost:5173; a host takes no *, "
    "and one with rare letters is written as browsers send it, as xn--..."
)


def prefix_of(text: str) -> str:
    """The path that a proxy puts before every address: "" or such as "/tools/photos".

    It is written into pages and headers, so it holds plain characters only.

    Raises:
        ValueError: it is no such path.
    """
    prefix = "/" + text.strip().strip("/")
    if prefix == "/":
        return ""
    dots = any(part in (".", "..") for part in prefix.split("/"))
    if dots or len(prefix) > _LONGEST_PREFIX or not _PREFIX.fullmatch(prefix):
        raise ValueError("a path has letters, digits and -._~ between slashes, such as /photos")
    return prefix


def origin_of(text: str) -> str:
    """An origin as browsers write it, such as "https://shop.example"; "*" stands for every one.

    Raises:
        ValueError: it is no origin.
    """
    origin = text.strip().removesuffix("/").lower()
    if origin == "*":
        return origin
    try:
        parts = urlsplit(origin)
        host, port = _host_of_origin(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(_NO_ORIGIN) from None
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    plain = origin == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
    if usual is None or not plain or parts.netloc.endswith(":") or port == 0:
        raise ValueError(_NO_ORIGIN)
    # Browsers leave the usual port out, and zeros in front of any, so with them an origin would never match.
    return f"{parts.scheme}://{host}" if port in (None, usual) else f"{parts.scheme}://{host}:{port}"


def _host_of_origin(host: str) -> str:
    """The host as browsers send it: other letters than ASCII's encoded, an IPv6 address short and in brackets.

    Raises:
        ValueError: no host has this name. UnicodeError is one of them.
    """
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    if not host.isascii():
        if _ENCODED_OTHERWISE.search(host):
            raise ValueError(_NO_ORIGIN)
        host = host.encode("idna").decode()
    if not _HOST.fullmatch(host):
        raise ValueError(_NO_ORIGIN)
    return host


def is_local_host(host: str) -> bool:
    """Whether `host` is a name or an address of this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        return False


def bare(host: str) -> str:
    """A host without the brackets that an IPv6 address has in a URL."""
    return host.removeprefix("[").removesuffix("]")


def listens_everywhere(host: str) -> bool:
    """Whether a service at `host` listens on all addresses of the machine."""
    try:
        return ipaddress.ip_address(bare(host)).is_unspecified
    except ValueError:
        return False


def reachable(host: str) -> str:
    """The host to ask on this machine for what listens at `host`, without brackets.

    What listens everywhere takes IPv4 as well, which every machine has on its loopback.
    """
    return "127.0.0.1" if listens_everywhere(host) else bare(host)


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets."""
    name = bare(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. `::` takes IPv4 as well, whatever the system's default is.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    found = socket.getaddrinfo(bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name may have both kinds of address. IPv4 comes first: what asks for localhost by number asks for 127.0.0.1.
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not listens_everywhere(host)))
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
