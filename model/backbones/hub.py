"""Pretrained weights from the model hub or its cache on this machine, without long waits where there is no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from model.errors import WeightsUnavailableError

FILES = ("model.safetensors", "pytorch_model.bin")  # timm's names on the hub, in its order
CLIP_FILE = "open_clip_model.safetensors"
PATIENCE = 5.0  # seconds for the hub's first answer; its own client would retry for most of a minute


def from_hub(name: str, settings: Any) -> Path | Literal["hub"]:
    """Where timm should take a model's pretrained weights from.

    Args:
        name: timm's name of the model.
        settings: timm's pretrained configuration of it.

    Returns:
        "hub" where the hub answers, otherwise the file in its cache. HF_HUB_OFFLINE is honoured.

    Raises:
        WeightsUnavailableError: there are none, or the hub does not answer and nothing is cached.
    """
    if not settings.has_weights:
        raise WeightsUnavailableError(
            f"{name!r} has no pretrained weights; `timm.list_models(pretrained=True)` lists models that do"
        )
    if hub_answers():
        return "hub"
    for file in (settings.hf_hub_filename,) if settings.hf_hub_filename else FILES:
        cached = try_to_load_from_cache(settings.hf_hub_id, file) if settings.hf_hub_id else None
        if isinstance(cached, str):
            return Path(cached)
    raise unavailable(name)


def clip_on_hub(settings: Any) -> Path | None:
    """The file of a whole CLIP, with its text tower, that lies beside timm's image tower on the hub or in its cache.

    Args:
        settings: timm's pretrained configuration of the image tower.

    Returns:
        None where there is none, or where it is neither cached nor reachable.
    """
    if not settings.hf_hub_id:
        return None
    try:
        return Path(hf_hub_download(settings.hf_hub_id, CLIP_FILE, local_files_only=not hub_answers()))
    except (OSError, HfHubHTTPError, ValueError):  # LocalEntryNotFoundError is both of the first two
        return None


def unavailable(name: str) -> WeightsUnavailableError:
    """The error for weights that are neither here nor reachable."""
    return WeightsUnavailableError(
        f"the pretrained weights of {name!r} are not on this machine and the model hub could not be reached; "
        "download them where there is a network and pass the file instead"
    )


def hub_answers() -> bool:
    """Whether the hub can be reached and may be asked."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # the client's family of errors changed between its versions; none of them matters here
        return False
    return True
