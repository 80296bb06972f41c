"""Checkpoints: safetensors in and out, strict; named checkpoints; content hash.

A checkpoint is one safetensors file. Its metadata say how to build the network, so nothing in it is ever executed:
`format`, `architecture`, `preset`, `config` (JSON) and `sha256` (of names, types, shapes and values of all tensors but
those of the text map, which has a `text_map_sha256` of its own). Galleries are bound to `sha256`: a map that is fitted
later changes no encoding, so they stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoints.gpu_check import NO_GPU, why_unusable
from model.errors import CheckpointError, CheckpointNotFoundError, ConfigurationError, DeviceError
from model.networks.network import CheckpointIdentity, Network
from model.networks.registry import ARCHITECTURES, build_network
from model.whole_file import whole_file

FORMAT = "sketchseek-1"
BUNDLED = Path(__file__).parent
_log = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_checkpoint(
    name_or_path: str | Path, device: str = "auto", dtype: str = "auto", *, trainable: bool = False
) -> Network:
    """A network in evaluation mode.

    Args:
        name_or_path: name of a bundled checkpoint ("zse-lite") or a safetensors file.
        device: "auto" (cuda if it can be used, else cpu), "cpu", "cuda", "cuda:1", ...
        dtype: "auto" (bfloat16 or float16 where the hardware computes it fast, else float32), or a name of `DTYPES`.
        trainable: keep the network as it was saved, to be trained or saved again; otherwise batch norms are folded
            into convolutions, which changes outputs by rounding only.

    Raises:
        CheckpointNotFoundError: no such name or file.
        CheckpointError: the file is damaged, of another format, or does not fit the network it describes.
        DeviceError: the device or arithmetic is not available.
    """
    path = find_checkpoint(name_or_path)
    metadata, tensors = read_checkpoint(path)
    place = resolve_device(device)
    arithmetic = resolve_dtype(dtype, place)
    try:
        architecture = ARCHITECTURES[metadata["architecture"]]
        network = build_network(architecture.from_json(json.loads(metadata["config"])))
    except (KeyError, ValueError, ConfigurationError) as error:
        raise CheckpointError(
            f"{path} was written by another version of Sketchseek ({error}); convert or train it again"
        ) from error
    load_tensors(network, tensors, str(path))
    network.identity = CheckpointIdentity(network.config.preset, metadata["sha256"])
    return (network if trainable else network.fold()).cast(place, arithmetic).eval()


def save_checkpoint(
    network: Network, path: str | Path, dtype: torch.dtype | None = None, extra: dict[str, str] | None = None
) -> str:
    """Write a network's weights and configuration; the file appears whole or not at all.

    Args:
        network: what to save.
        path: of the safetensors file.
        dtype: of the stored floating-point values; None keeps them.
        extra: more metadata, for example where the weights come from.

    Returns:
        The SHA-256 that galleries are bound to, hex.

    Raises:
        ConfigurationError: the network was loaded for use alone.
    """
    if network.folded:
        raise ConfigurationError("this network was loaded for use alone; load it with trainable=True to save it again")
    tensors = {
        name: value.detach().to("cpu", dtype if dtype and value.is_floating_point() else value.dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    digests = content_hashes(tensors)
    metadata = {
        **(extra or {}),
        "format": FORMAT,
        "architecture": network.config.architecture,
        "preset": network.config.preset,
        "config": json.dumps(ARCHITECTURES[network.config.architecture].to_json(network.config), sort_keys=True),
        **digests,
    }
    with whole_file(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return digests["sha256"]


def save_changed(network: Network, path: str | Path, source: str | Path) -> str:
    """Write a network that was read from `source` and changed: with the type of numbers and the story it has there.

    Args:
        network: loaded with `trainable`.
        path: of the new safetensors file.
        source: name of a bundled checkpoint, or a file.

    Returns:
        The SHA-256 that galleries are bound to, hex.
    """
    metadata, tensors = read_checkpoint(find_checkpoint(source))
    dtype = next(value.dtype for value in tensors.values() if value.is_floating_point())
    return save_checkpoint(network, path, dtype, {name: metadata[name] for name in ("training",) if name in metadata})


def with_config(network: Network, **changes: Any) -> Network:
    """The same network object under a configuration changed in the given fields (a score rule, a preset's name)."""
    network.config = replace(network.config, **changes)
    return network


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The file of a checkpoint given by bundled name or by path."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    bundled = BUNDLED / f"{name_or_path}.safetensors"
    if path.name == str(name_or_path) and bundled.is_file():
        return bundled
    names = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.safetensors"))) or "none"
    raise CheckpointNotFoundError(
        f"there is no checkpoint {str(name_or_path)!r}: give a file or a bundled name ({names})"
    )


def read_checkpoint(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a checkpoint file, checked against its own hash.

    Raises:
        CheckpointError: it is no checkpoint of ours, truncated or altered.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iteration protocol)
    except (SafetensorError, OSError, ValueError) as error:
        hint = "if it is a published ZSE-SBIR checkpoint, run `sketchseek convert` on it; otherwise fetch it again"
        raise CheckpointError(f"{path} is no readable safetensors file ({hint})") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file but no Sketchseek checkpoint; convert or train one")
    if any(metadata.get(name) != digest for name, digest in content_hashes(tensors).items()):
        raise CheckpointError(f"{path} is damaged: its content does not match its own checksum; fetch it again")
    return metadata, tensors


TEXT_MAP = "text_map."
"""How the names of the tensors of a map of words begin."""
ADDED_LATER = ".familiarity."
"""In the names of tensors that earlier checkpoints lack; zeros there change nothing."""


def load_tensors(network: Network, tensors: dict[str, Tensor], source: str, *, assign: bool = False) -> None:
    """Copy (or, with `assign`, put) tensors into a network; every entry must be there with its shape, and no other.

    Raises:
        CheckpointError: names what is missing, extra or misshapen.
    """
    expected = network.state_dict()
    later = {name: torch.zeros_like(value) for name, value in expected.items() if ADDED_LATER in name}
    tensors = {**later, **tensors}
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    misshapen = sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    if missing or extra or misshapen:
        wrong = [
            f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in (("missing", missing), ("unknown", extra), ("misshapen", misshapen))
            if names
        ]
        raise CheckpointError(f"{source} does not fit the network {network.config.preset!r}: {'; '.join(wrong)}")
    network.load_state_dict(tensors, strict=True, assign=assign)


def content_hashes(tensors: dict[str, Tensor]) -> dict[str, str]:
    """The entries of the metadata that say what the tensors are: what encodes and relates, and apart from it the map of
    words, where there is one."""
    words = {name: value for name, value in tensors.items() if name.startswith(TEXT_MAP)}
    digests = {"sha256": _content_hash({name: value for name, value in tensors.items() if name not in words})}
    return {**digests, "text_map_sha256": _content_hash(words)} if words else digests


def _content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def resolve_device(device: str) -> torch.device:
    """The torch device for "auto" or a name. A GPU counts if a small kernel runs there.

    "auto" is the CPU where no GPU can be used, and warns if there is one.

    Raises:
        DeviceError: a device asked for by name is not there or cannot be used; the message says what to do.
    """
    if device == "auto":
        reason = why_unusable("cuda")
        if reason not in (None, NO_GPU):
            _warn_once(reason)
        return torch.device("cpu" if reason else "cuda")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"{device!r} is no device; use auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda":
        reason = why_unusable(device)
        if reason == NO_GPU:
            raise DeviceError(f"{device!r} is not available here; run `sketchseek doctor`, or use device=cpu")
        if reason is not None:
            raise DeviceError(f"{device!r} cannot be used: {reason}")
    return place


@cache
def _warn_once(reason: str) -> None:
    _log.warning("The network runs on the CPU: %s", reason)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The arithmetic for "auto" or a name: of 16 bits where the hardware computes it fast, else float32."""
    if dtype == "auto":
        if device.type == "cuda":
            return fastest_on_gpu(torch.cuda.get_device_capability(device))
        return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
    if dtype not in DTYPES:
        raise DeviceError(f"{dtype!r} is no arithmetic; use auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def fastest_on_gpu(capability: tuple[int, int]) -> torch.dtype:
    """The arithmetic that the tensor cores of a GPU of this compute capability are made for."""
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (7, 0) else torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("amx_tile"))
