"""Which cards recall may use, as far as that can be known before FAISS touches one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from index_builder.index.faiss_search import load_faiss
from index_builder.index.gpu_faults import FaissUnfitError, GpuShortError
from index_builder.index.settings import RecallSettings
from model.errors import DeviceError

_TRIAL_S = 180


def visible() -> int:
    """How many GPUs torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def why_no_gpu() -> str | None:
    """Why recall cannot have a GPU here, with what to do; None if there is one that FAISS was built for."""
    if not hasattr(load_faiss(), "StandardGpuResources"):
        return "this FAISS was built for the CPU: pip uninstall faiss-cpu and install 'sketchseek[gpu]'"
    if not visible():
        return "torch finds no GPU: run `sketchseek doctor`"
    return None


def check_recall_device(settings: RecallSettings) -> None:
    """Check that there is a GPU if recall must have one.

    Raises:
        DeviceError: there is none.
    """
    if settings.device == "gpu" and (missing := why_no_gpu()) is not None:
        raise DeviceError(f"SKETCHSEEK_RECALL_DEVICE=gpu cannot be followed, since {missing}; or use auto or cpu")


def chosen_cards(settings: RecallSettings) -> list[int]:
    """Numbers of the cards that recall may use, as torch and FAISS count: the network's, or all if it must have one.

    Raises:
        DeviceError: it must have one and there is none.
    """
    check_recall_device(settings)
    network = torch.device(settings.network_device)
    if settings.device == "cpu" or (settings.device == "auto" and network.type != "cuda") or why_no_gpu() is not None:
        return []
    return list(range(visible())) if settings.device == "gpu" else [network.index or 0]


def try_faiss(card: int) -> None:
    """Let another process find out whether FAISS can use a card.

    Raises:
        FaissUnfitError: it cannot.
        GpuShortError: it found too little free memory.
    """
    command = [sys.executable, "-P", str(Path(__file__).with_name("gpu_trial.py")), str(card)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_S, check=False)  # noqa: S603 - our own file
    except (OSError, subprocess.SubprocessError) as error:
        raise FaissUnfitError(f"FAISS could not be tried on GPU {card}: {error}") from error
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()
    message = f"FAISS failed when it was tried on GPU {card}: {said[-1] if said else f'exit status {done.returncode}'}"
    if "out of memory" in done.stderr.lower():
        raise GpuShortError(message)
    if "busy or unavailable" in done.stderr.lower():
        message += "; let more than one process use it: nvidia-smi --compute-mode=DEFAULT"
    raise FaissUnfitError(message)
