"""What a run's folder remembers of how it was started, so that it is not continued with something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import NetworkConfig
from model.data.items import Dataset, category_key
from model.data.pairs import Pairs
from model.errors import ConfigurationError
from model.training.config import TrainConfig
from model.whole_file import write_whole

if TYPE_CHECKING:
    from model.training.run.run import RunPlan


def describe(network: NetworkConfig, config: TrainConfig, plan: RunPlan) -> dict[str, Any]:
    """Plain values of all that the result of a run depends on."""
    return {
        "network": asdict(network),
        "training": asdict(config),
        "data": {
            "train": fingerprint(plan.train),
            "extra": fingerprint(plan.extra),
            "validation": fingerprint(plan.validation),
            "pairs": None if plan.pairs is None else paired(plan.pairs),
            "undrawn": fingerprint(plan.undrawn),
            "side": plan.side,
        },
        "start": {
            "backbone": None if plan.start is None else str(plan.start),
            "checkpoint": None if plan.initial is None else str(plan.initial),
        },
    }


def paired(pairs: Pairs) -> dict[str, Any]:
    """How many drawings have a photo of their own, and a hash of which has which."""
    digest = hashlib.sha256()
    for sketch, own in zip(pairs.sketches, pairs.own_photo, strict=True):
        digest.update(f"{category_key(sketch.category)}/{sketch.path.name}/{pairs.photos[own].path.name}\n".encode())
    return {"sketches": len(pairs.sketches), "sha256": digest.hexdigest()[:20]}


def fingerprint(dataset: Dataset | None) -> dict[str, Any] | None:
    """Counts of a dataset and a hash of its images' categories and names, wherever they lie."""
    if dataset is None:
        return None
    digest = hashlib.sha256()
    for item in dataset.items:
        digest.update(f"{item.modality}/{category_key(item.category)}/{item.path.name}/{item.key}\n".encode())
    return {
        "sketches": len(dataset.sketches),
        "photos": len(dataset.photos),
        "categories": len(dataset.categories),
        "sha256": digest.hexdigest()[:20],
    }


def check(path: Path, values: dict[str, Any]) -> None:
    """Refuse to continue a run that was started in another way; nothing is written.

    A run of an earlier version may lack entries: training settings then have the value that they have by default, and
    the others are not compared.

    Raises:
        ConfigurationError: names what differs.
    """
    values = json.loads(json.dumps(values))
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{path} is damaged; give another --run folder") from error
        known = {**values, "training": json.loads(json.dumps(asdict(TrainConfig())))}
        different = sorted(differences(_filled(stored, known), values))
        if different:
            raise ConfigurationError(
                f"{path.parent} holds a run that was started in another way ({', '.join(different[:5])}); give another "
                "--run folder, or the same options"
            )


def remember(path: Path, values: dict[str, Any]) -> None:
    """Write how a run was started, or refuse to continue one that was started in another way.

    Raises:
        ConfigurationError: names what differs.
    """
    check(path, values)
    write_whole(path, json.dumps(values, indent=1, sort_keys=True))


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Dotted names of the entries in which two nested mappings differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            found
            for key in one.keys() | other.keys()
            for found in differences(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if one == other else [name]


def _filled(stored: Any, known: Any) -> Any:
    """The stored values, with the known one where an entry is missing."""
    if not isinstance(stored, Mapping) or not isinstance(known, Mapping):
        return stored
    return {**known, **{key: _filled(value, known.get(key)) for key, value in stored.items()}}
