"""The real Milvus as a process of its own, on a port of its own, which tests may stop, kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from milvus import MilvusServer as Packaged
from milvus import MilvusServerConfig


class MilvusProcess:
    """Milvus 2.3.5 as PyPI has it; asks for a token.

    Args:
        folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        config = MilvusServerConfig(data_dir=str(folder))
        config.set("common.security.authorizationEnabled", "true")
        self._packaged = Packaged(config, wait_for_started=False)

    @property
    def url(self) -> str:
        """Its address, the same after every start."""
        return f"http://127.0.0.1:{self._packaged.listen_port}"

    def begin(self) -> None:
        """Start it, without waiting until it answers. For a minute after a kill, the system may hold back its ports."""
        until = time.monotonic() + 90.0
        while True:
            try:
                self._packaged.start()
                break
            except RuntimeError:  # a port is taken
                assert time.monotonic() < until, "the ports of Milvus stay taken"
                time.sleep(0.5)
        self._keep_ports()

    def wait(self, seconds: float = 100.0) -> None:
        """Wait until it says that it is well."""
        until = time.monotonic() + seconds
        health = f"http://127.0.0.1:{self._packaged.webservice_port}/healthz"
        while True:
            try:
                with urllib.request.urlopen(health, timeout=5) as answer:
                    if b"OK" in answer.read():
                        return
            except OSError:
                pass
            assert time.monotonic() < until, "Milvus does not start"
            time.sleep(0.1)

    def hang(self) -> None:
        """Let it hang, and wait until it does."""
        self.signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGCONT)
        self.kill()
        self._packaged.stop()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        process = self._packaged.server_proc
        assert isinstance(process, subprocess.Popen)
        return process

    def _keep_ports(self) -> None:
        """Let the next start listen where this one does, as far as anybody outside knows."""
        config = self._packaged.config
        config.update(proxy_port=config.get("proxy_port"))
