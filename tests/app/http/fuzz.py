"""Schemathesis against the live service: no 5xx, no answer that the OpenAPI document does not have.

python -m tests.app.http.fuzz --examples 200
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from tests.app.live import live

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
PHASES = "examples,coverage,fuzzing,stateful"
# A slow machine would be answered 503 and 202, rightly; here that would look like defects.
PATIENCE_S = 100


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The application behind a real port of this process, as the product serves it; its address."""
    with live(app, app.state.settings) as port:
        yield f"http://127.0.0.1:{port}"


def attack(url: str, key: str, examples: int, seed: int, phases: str = PHASES) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis with every check."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(CONFIGURATION),
        "run",
        f"{url}/openapi.json",
    ]
    command += ["--phases", phases]
    command += ["--exclude-path", "/gallery/events"]  # which never ends, so that no answer could be judged
    command += ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    command += [
        "--header",
        f"Authorization: Bearer {key}",
        "--request-timeout",
        str(PATIENCE_S),
        "--max-response-time",
        str(PATIENCE_S),
        "--suppress-health-check",
        "all",
    ]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=tempfile.gettempdir(), env={**os.environ}, check=False
    )


def main() -> None:
    """Build a small gallery, serve it, attack it."""
    from app.main import create_app
    from app.settings import load_settings
    from index_builder import BuildOptions, build_gallery
    from model.networks.network import CheckpointIdentity
    from model.networks.registry import build_network, preset
    from tests.app.conftest import READ_KEY, WRITE_KEY, fill

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200, help="cases per operation and phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phases", default=PHASES, help="of Schemathesis, with commas between")
    arguments = parser.parse_args()
    network = build_network(preset("zse-tiny"), seed=0).eval()
    network.identity = CheckpointIdentity("zse-tiny", "0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        photos, gallery = fill(Path(folder) / "photos"), Path(folder) / "gallery"
        build_gallery(photos, gallery, network, options=BuildOptions(workers=1))
        settings = load_settings(
            gallery=gallery,
            photos=photos,
            read_key=READ_KEY,
            write_key=WRITE_KEY,
            rate_limit_per_minute=0,
            request_timeout_s=PATIENCE_S,
            upload_wait_s=PATIENCE_S,
        )
        with running(create_app(settings, network)) as url:
            done = attack(url, WRITE_KEY, arguments.examples, arguments.seed, arguments.phases)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
