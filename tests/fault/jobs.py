"""What the killed processes do. Imported once by a fork server, so that every one of them starts in milliseconds."""

from __future__ import annotations

import faulthandler
import os
import resource
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import faiss  # noqa: F401 - imported here so that children have it already
import lance  # noqa: F401
import torch

from index_builder import BuildOptions, GallerySnapshot, add_photos, build_gallery, rebuild_gallery, sync_gallery
from index_builder.index.settings import Kind, RecallSettings
from model.errors import SketchseekError
from model.networks.network import CheckpointIdentity, Network
from model.networks.registry import build_network, preset

KINDS: tuple[Kind, ...] = ("flat", "ivf")
"""What the job "cache" makes."""
OPTIONS = BuildOptions(batch_size=2, commit_photos=2, workers=1, most_lost=90)


def tiny_network(seed: int) -> Network:
    """The same weights in every process."""
    network = build_network(preset("zse-tiny"), seed=seed)
    network.identity = CheckpointIdentity(f"zse-tiny-{seed}", f"{seed:064x}")
    return network


torch.set_num_threads(1)
NETWORK, OTHER = tiny_network(0), tiny_network(1)


def work(job: str, root: Path, gallery: Path | str) -> None:
    """One command, from beginning to end."""
    if job == "build":
        build_gallery(root, gallery, NETWORK, options=OPTIONS)
    elif job == "add":
        add_photos(gallery, root, [root / "cat", root / "dog"], NETWORK, options=OPTIONS)
    elif job in {"sync", "move"}:
        sync_gallery(gallery, NETWORK, options=OPTIONS)
    elif job == "rebuild":
        rebuild_gallery(gallery, OTHER, options=OPTIONS)
    elif job == "cache":
        for kind in KINDS:
            GallerySnapshot.load(gallery, NETWORK.identity, recall=RecallSettings(kind=kind))
    else:
        raise ValueError(job)


def run(
    job: str,
    root: Path,
    gallery: Path | str,
    ready: Connection,
    *,
    file_limit: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Say that it begins, do the job, and send "done" or the error's code."""
    faulthandler.enable()
    os.environ.update(environment or {})
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    ready.send("begins")
    try:
        work(job, root, gallery)
    except SketchseekError as error:
        ready.send(error.code)
    else:
        ready.send("done")
    os._exit(0)  # exit handlers would only add time in which nothing is killed
