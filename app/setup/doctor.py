"""What is wrong with a machine, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib import import_module

from app.addresses import authority, listening_socket
from app.network_folders import share_kind
from app.settings import Settings, usable_cores
from app.setup.finding import Finding
from app.setup.photo_checks import Survey, photos_finding, survey, watching_finding
from index_builder.gallery_errors import RecallServerError
from index_builder.photo_folders import PhotoFolders
from model.errors import SketchseekError

_LEAST_FREE_BYTES = 1_000_000_000


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check, in an order in which one failure does not hide behind a later one."""
    look = cache(survey)  # at all folders, once
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("python", _python),
        ("processor", _processor),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("faiss", _faiss),
        ("milvus", _milvus),
        ("checkpoint", _checkpoint),
        ("gallery", _gallery),
        ("photos", lambda of: _photos(of, look)),
        ("watching", lambda of: _watching(of, look)),
        ("disk", _disk),
        ("port", _port),
        ("keys", _keys),
        ("threads", _threads),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except SketchseekError as error:
            yield Finding(name, "problem", str(error), "do what the message says")
        except Exception as error:
            yield Finding(name, "problem", f"{type(error).__name__}: {error}", "report this as a defect")


def _python(_settings: Settings) -> Finding:
    return Finding("python", "ok", f"Python {platform.python_version()} at {sys.prefix}")


def _processor(_settings: Settings) -> Finding:
    from index_builder.store.processor import check_processor

    check_processor()
    return Finding("processor", "ok", f"{platform.machine()} with all instructions that are needed")


def _torch(settings: Settings) -> Finding:
    import torch

    from model.checkpoints.files import resolve_device, resolve_dtype
    from model.checkpoints.gpu_check import NO_GPU, why_unusable

    device = resolve_device(settings.device)
    dtype = str(resolve_dtype(settings.dtype, device)).removeprefix("torch.")
    says = f"torch {torch.__version__} on {device} with {dtype}"
    if settings.device == "auto" and (reason := why_unusable("cuda")) not in (None, NO_GPU):
        return Finding("torch", "warning", f"{says}, although there is a GPU", str(reason))
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return Finding(
            "torch",
            "warning",
            f"{says}, although this machine has an NVIDIA GPU",
            "install torch's CUDA build: python -m pip install --force-reinstall torch -c constraints.txt",
        )
    return Finding("torch", "ok", says)


def _torchvision(_settings: Settings) -> Finding:
    import_module("model.backbones.torchvision_guard")
    timm = import_module("timm")

    return Finding("torchvision", "ok", f"timm {timm.__version__} and torchvision can be imported")


def _faiss(settings: Settings) -> Finding:
    from index_builder.index.faiss_search import load_faiss
    from index_builder.index.gpu_choice import check_recall_device, chosen_cards, why_no_gpu
    from index_builder.index.gpu_faults import SENTENCES, Fault
    from index_builder.index.gpu_resources import GPUS
    from model.checkpoints.files import resolve_device

    faiss = load_faiss()
    check_recall_device(settings.recall_settings)
    network = resolve_device(settings.device)
    wanted = settings.recall_device == "gpu" or (settings.recall_device == "auto" and network.type == "cuda")
    if not wanted:
        return Finding("faiss", "ok", f"FAISS {faiss.__version__} on CPU")
    if why_no_gpu():
        return Finding(
            "faiss",
            "warning",
            f"FAISS {faiss.__version__} without GPU beside a network on one; the recall stage runs on the CPU",
            "python -m pip uninstall -y faiss-cpu && python -m pip install faiss-gpu -c constraints.txt",
        )
    cards = chosen_cards(replace(settings.recall_settings, network_device=str(network)))
    faults = []
    for card in cards:
        try:
            GPUS.card(card, settings.recall_scratch_bytes)
        except Exception as error:
            faults.append(Fault.of(error))
    says = f"FAISS {faiss.__version__} on {len(cards) - len(faults)} GPU"
    if not faults:
        return Finding("faiss", "ok", says)
    if len(faults) == len(cards):
        says = f"FAISS {faiss.__version__}: {SENTENCES[faults[0].reason]}"
    mend = "; ".join(fault.says for fault in faults)
    return Finding("faiss", "warning", says, f"mend what FAISS says ({mend}), or set SKETCHSEEK_RECALL_DEVICE=cpu")


def _milvus(settings: Settings) -> Finding:
    from index_builder.index.milvus_index import check_recall_server
    from index_builder.index.milvus_server import CONNECT_S, server_at

    recall = settings.recall_settings
    if recall.kind != "milvus":
        return Finding("milvus", "ok", "not used; SKETCHSEEK_RECALL=milvus would")
    check_recall_server(recall, settings.max_candidates, settings.max_top_k)
    server = server_at(str(recall.server_url), recall.server_token)
    try:
        version = server.call("get_server_version", seconds=CONNECT_S)
    except RecallServerError as error:
        return Finding("milvus", "problem", str(error), "start it, or mend SKETCHSEEK_RECALL_URL")
    return Finding("milvus", "ok", f"Milvus {version} answers at {server.shown}")


def _checkpoint(settings: Settings) -> Finding:
    from model.checkpoints.files import load_checkpoint

    network = load_checkpoint(settings.checkpoint, "cpu", "float32")
    return Finding("checkpoint", "ok", f"{network.identity.name} ({network.identity.sha256[:12]}) is whole")


def _gallery(settings: Settings) -> Finding:
    from index_builder import Gallery
    from index_builder.gallery_errors import GalleryNotFoundError
    from model.checkpoints.files import load_checkpoint

    try:
        opened = Gallery.open(settings.gallery)
    except GalleryNotFoundError as error:
        if settings.photos is not None:
            return Finding("gallery", "ok", f"none at {settings.gallery} yet; the service builds it when it starts")
        return Finding("gallery", "problem", str(error), "sketchseek serve --watch PHOTOS builds it as well")
    dataset = opened.dataset()
    network = load_checkpoint(settings.checkpoint, "cpu", "float32")
    opened.metadata(dataset).check(network.identity, network.preprocess.identity)
    return Finding("gallery", "ok", f"{dataset.count_rows()} photos at {settings.gallery}, version {opened.version}")


def _photos(settings: Settings, look: Callable[[PhotoFolders], Survey]) -> Finding:
    photos = _folders(settings)
    if photos is None:
        return Finding("photos", "ok", "no folder of photos is set")
    return photos_finding(settings, photos, look(photos))


def _watching(settings: Settings, look: Callable[[PhotoFolders], Survey]) -> Finding:
    photos = _folders(settings)
    if photos is None:
        return Finding("watching", "ok", "no folder of photos is set")
    return watching_finding(photos, look(photos))


def _folders(settings: Settings) -> PhotoFolders | None:
    """The photos' folders: those of the settings, or those that the gallery remembers."""
    from index_builder import Gallery
    from index_builder.gallery_errors import GalleryNotFoundError

    try:
        opened = Gallery.open(settings.gallery)
    except GalleryNotFoundError:
        return None if settings.photos is None else settings.photo_folders
    return settings.photo_folders.over(opened.metadata(opened.dataset()).folders)


def _disk(settings: Settings) -> Finding:
    from index_builder.store.places import on_disk

    folder = on_disk(settings.gallery)
    if folder is None:
        return Finding("disk", "ok", f"the gallery lies in a bucket: {settings.gallery}")
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    says = f"{free / 1e9:.1f} GB free where the gallery is"
    if not os.access(place, os.W_OK | os.X_OK):
        is_there = place == folder.absolute()
        return Finding(
            "disk",
            "warning" if is_there else "problem",
            f"user {os.getuid()} may not write to {place}: the gallery can be "
            + ("served, not changed" if is_there else "neither made nor served"),
            f"give it to this user (chown -R {os.getuid()}:{os.getgid()} {place}), or name another --gallery",
        )
    if (kind := share_kind(place)) is not None:
        return Finding(
            "disk",
            "warning",
            f"the gallery lies on {kind}, where other machines do not see its lock",
            "write to it from one machine only, or keep it on a local disk",
        )
    if free < _LEAST_FREE_BYTES:
        return Finding("disk", "warning", says, f"free some space: {_need(settings.checkpoint)}")
    return Finding("disk", "ok", says)


def _need(checkpoint: str) -> str:
    """What a gallery for this checkpoint takes, for people."""
    from index_builder.store.quantise import TokenShape
    from model.checkpoints.files import load_checkpoint

    size = TokenShape.of(load_checkpoint(checkpoint, "cpu", "float32")).bytes_per_photo
    return f"a gallery takes about {size / 1000:.0f} kB per photo"


def _port(settings: Settings) -> Finding:
    place = authority(settings.host, settings.port)
    try:
        listening_socket(settings.host, settings.port).close()
    except OSError as error:
        return Finding(
            "port",
            "problem",
            f"{place} cannot be listened at ({error.strerror})",
            "stop what listens there, or choose another --port",
        )
    return Finding("port", "ok", f"{place} is free")


def _keys(settings: Settings) -> Finding:
    if not settings.is_local and settings.read_key is None:
        return Finding(
            "keys",
            "warning",
            "listens to the network without a key: anybody who reaches it can search and look",
            "set SKETCHSEEK_READ_KEY, or listen at 127.0.0.1",
        )
    return Finding("keys", "ok", "reading is " + ("free" if settings.read_key is None else "by key"))


def _threads(settings: Settings) -> Finding:
    cores = usable_cores()
    if settings.threads > cores:
        return Finding(
            "threads",
            "warning",
            f"{settings.threads} threads on {cores} cores get in each other's way",
            "set SKETCHSEEK_TORCH_THREADS to the number of cores",
        )
    return Finding("threads", "ok", f"{settings.threads} threads on {cores} cores")
