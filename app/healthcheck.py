"""Asks the service on this machine whether it lives: `python -m app.healthcheck`, for a container's health check.

It runs every few seconds, so it imports next to nothing: it reads the three settings that it needs by itself.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException

from app.addresses import authority, reachable

_TIMEOUT_S = 4.0


def main(path: str = "/healthz") -> int:
    """Ask where SKETCHSEEK_HOST, and SKETCHSEEK_ADMIN_PORT or SKETCHSEEK_PORT, say that the service listens.

    Args:
        path: "/readyz" asks whether it would answer a search.

    Returns:
        0 if it answered 200, and 1 otherwise, with a line on stderr.
    """
    host = reachable(os.environ.get("SKETCHSEEK_HOST") or "127.0.0.1")
    try:
        port = int(os.environ.get("SKETCHSEEK_ADMIN_PORT") or 0) or int(os.environ.get("SKETCHSEEK_PORT") or 8000)
    except ValueError:
        sys.stderr.write("SKETCHSEEK_PORT and SKETCHSEEK_ADMIN_PORT are numbers\n")
        return 1
    # Not urllib: it would ask the proxy that the environment names for programs that go out to the internet.
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(1000).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"nothing answers at http://{authority(host, port)}{path} ({type(error).__name__})\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{said}\n")
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
