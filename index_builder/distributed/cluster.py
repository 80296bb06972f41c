"""A connection to a Ray cluster, or a cluster of this machine alone; and Ray kept quiet."""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.stores import first_line
from model.errors import SketchseekError

NOTHING_FOR_S = 600.0
"""Seconds without any result after which a build gives up."""
_log = logging.getLogger(__name__)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ANSWER_S = 5.0  # for a cluster's head to take a connection
_QUIET = ("ray", "ray.data", "ray.serve", "ray.tune", "ray.train")
# Of the driver's environment, what its workers need: where the packages are, and threads that sleep while they wait.
_FOR_WORKERS = ("PYTHONPATH", "OMP_WAIT_POLICY")


class ClusterError(GalleryError):
    """The Ray cluster cannot be reached or used, or it gave up."""

    code = "ray_cluster_error"


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster until the end of the block.

    Args:
        address: HOST:PORT of the cluster's head, or "auto" for the one that this machine belongs to; None starts one on
            this machine, which ends with the block. A process that is connected already stays so.

    Raises:
        ClusterError: Ray is not installed, or the cluster does not answer.
    """
    if address not in (None, "auto"):
        _check_answers(address)
    with own_warnings_ignored():
        ray = _imported()
        if ours := not ray.is_initialized():
            _connect(ray, address)
    try:
        with own_warnings_ignored():
            _configure(ray)
        yield ray
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def own_warnings_ignored() -> Iterator[None]:
    """Ray warns of names that Ray itself uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def advice_ignored() -> Iterator[None]:
    """Ray advises more work for its actors where a run ends early. Warnings of others stay."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\b")
        yield


@contextmanager
def cluster_errors() -> Iterator[None]:
    """What Ray raises as a `ClusterError`, also of what it runs for ten minutes without a result."""
    try:
        yield
    except SketchseekError:
        raise
    except Exception as error:  # Ray's own errors have no base in common
        raise ClusterError(
            f"the Ray cluster gave up ({type(error).__name__}: {_said(error)}); what was committed is whole, look at "
            "the cluster with `ray status` and run the same command again"
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    where = "of this machine" if address in (None, "auto") else f"at {address}"
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": {name: os.environ[name] for name in _FOR_WORKERS if name in os.environ}},
        )
    except Exception as error:  # Ray's own errors have no base in common
        raise ClusterError(
            f"cannot use the Ray cluster {where}: {_said(error)}; run this command on a machine of the cluster, "
            "with the same Python and the same release of Ray"
        ) from error


def _imported() -> Any:
    # Ray reads these when it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(
            "the engine ray needs an extra; install it with `pip install 'sketchseek[ray]'`, here and on every machine "
            "of the cluster"
        ) from error
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ray prints what it learns of lost workers on stdout, which is for reports. It has no setting for that.
    private = getattr(getattr(ray, "_private", None), "worker", None)
    if private is not None and hasattr(private, "print_to_stdstream"):
        private.print_to_stdstream = _note
    return ray


def _note(data: dict[str, Any], *_arguments: Any, **_options: Any) -> None:
    for line in data.get("lines", ()):
        _log.debug("%s", line)


def _configure(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what a lost worker had in hand is asked for again, see `RayEngine`
    context.execution_no_progress_timeout_s = NOTHING_FOR_S


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("[").replace("]:", ":").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ClusterError(f"{address!r} is no address of a Ray cluster; give HOST:PORT, for example 10.0.0.5:6379")
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}; start one with `ray start --head`, or correct --ray-address"
        ) from error


def _said(error: BaseException) -> str:
    """What happened, in one line. Ray puts a worker's traceback before it, in colours."""
    lines = [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    from_worker = any("Traceback (most recent call last)" in line or "creation task" in line for line in lines)
    return first_line(Exception(lines[-1 if from_worker else 0].strip() if lines else type(error).__name__))
