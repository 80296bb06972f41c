"""Runs the service with uvicorn: a port for the probes, an end that loses no request, errors on one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, cast

import uvicorn
from fastapi import FastAPI

from app.addresses import authority, listening_socket, listens_everywhere, reachable
from app.http.root_path import TrustedProxies
from app.http.uvicorn_protocol import protocol_for
from app.logs import get_logger
from app.main import create_admin_app
from app.service.serving.unjoined_threads import any_at_work
from app.service_errors import ServiceError
from app.settings import Settings

_log = get_logger("app.server")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048
_SWITCH_S = 0.0005
"""Seconds after which Python passes its lock on; by default 5 ms. The device's thread asks for the lock between any two
operations, and would wait that long for every request that is being parsed or decoded."""


class PortTakenError(ServiceError):
    """Another program already listens at this address."""

    code = "port_taken"


class _Server(uvicorn.Server):
    """At the first signal the service reports that it is not ready; a moment later it stops listening and finishes."""

    def __init__(self, config: uvicorn.Config, settings: Settings, app: FastAPI) -> None:
        super().__init__(config)
        self._settings = settings
        self._app = app
        self._leaving: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without raising them again at the end: a service that ends on request has succeeded."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, lambda n, frame: loop.call_soon_threadsafe(self.handle_exit, n, frame))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a signal handler
        """First signal: drain; second: end now."""
        if self._leaving is None:
            service = getattr(self._app.state, "service", None)
            if service is not None:
                service.drain()
            delay = self._settings.drain_s if self.started else 0.0
            self._leaving = asyncio.get_running_loop().call_later(delay, self._leave)
        elif self.should_exit:
            self.force_exit = True
        else:
            self._leave()

    def _leave(self) -> None:
        self.should_exit = True


class _AdminServer(uvicorn.Server):
    """Serves the probes' port; it ends after the main server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the main server."""
        yield


def allow_many_connections() -> None:
    """Let the process open as many files as the system allows; each connection is one."""
    import resource  # not on Windows, where the command line says so

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Make it before anything slow is done, so that a taken port is reported at once.

    Raises:
        PortTakenError: something listens there already, or the address is not this machine's.
    """
    try:
        listener = listening_socket(host, port)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise PortTakenError(
            f"cannot listen at {authority(host, port)} ({error.strerror}); stop what listens there, "
            "or choose another --port"
        ) from None
    listener.settimeout(0)
    return listener


def address_of(settings: Settings, port: int) -> str:
    """Where the service is, as a line for people: an address that opens in a browser on this machine."""
    url = f"http://{authority(reachable(settings.host), port)}"
    return f"{url}, and at this machine's other addresses" if listens_everywhere(settings.host) else url


def serve(app: FastAPI, settings: Settings, listener: socket.socket, admin: socket.socket | None = None) -> bool:
    """Serve until a signal comes; False if the application could not start.

    Args:
        app: from `app.main.create_app`.
        settings: that it was made with.
        listener: from `listen`.
        admin: a second one for probes and metrics, or None.
    """
    allow_many_connections()
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(app, settings, listener, admin))


async def _serve(app: FastAPI, settings: Settings, listener: socket.socket, admin: socket.socket | None) -> bool:
    server = _Server(configuration(app, settings), settings, app)
    probes: asyncio.Task[None] | None = None
    if admin is not None:
        admin_server = _AdminServer(configuration(create_admin_app(app), settings, lifespan="off"))
        probes = asyncio.create_task(admin_server.serve(sockets=[admin]))
    await server.serve(sockets=[listener])
    if probes is not None:
        admin_server.should_exit = True
        await probes
    return server.started


def end_process(code: int) -> NoReturn:
    """End this process with an exit code, at once if a version of the gallery is still being loaded.

    Python's own end waits for pools of threads that the load uses, and cuts native code in a way that may abort.
    """
    if any_at_work():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def configuration(app: FastAPI, settings: Settings, lifespan: str = "on") -> uvicorn.Config:
    """How uvicorn serves an application of `app.main`."""
    config = uvicorn.Config(
        app,
        http=protocol_for(settings),
        ws="none",
        lifespan=lifespan,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        backlog=_BACKLOG,
        proxy_headers=False,  # ours, below, reads one header more
    )
    # `forwarded_allow_ips` is what FORWARDED_ALLOW_IPS names, by default this machine.
    config.app = TrustedProxies(cast("Any", app), config.forwarded_allow_ips)
    return config


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
