"""Configurations as plain values, as checkpoints hold them, and back: checked, since a file may be forged."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from model.config import NetworkConfig
from model.errors import ConfigurationError
from model.score_rules import ScoreRule

C = TypeVar("C", bound=NetworkConfig)
_ADDED_LATER = {"kinds", "likely"}
"""Parts that earlier checkpoints lack, and whose defaults say the same."""


def config_from_json(kind: type[C], values: Any) -> C:
    """The configuration of one kind of network, as `to_json` wrote it.

    Args:
        kind: of the network.
        values: plain values; every part must be there, while fields that a part lacks take their default.

    Raises:
        ConfigurationError: an entry is missing, unknown or of the wrong kind.
    """
    try:
        missing = {each.name for each in fields(kind)} - dict(values).keys() - _ADDED_LATER
        if missing:
            raise ValueError(f"missing entries: {', '.join(sorted(missing))}")
        config: C = _part_from_json(kind, values)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the stored network configuration does not fit this version of Sketchseek ({error})"
        ) from error
    return config


def score_rule_from_json(values: dict[str, Any]) -> ScoreRule:
    """The score rule of any network's stored configuration.

    Raises:
        ConfigurationError: there is none that this version knows.
    """
    try:
        rule: ScoreRule = _part_from_json(ScoreRule, values["score"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"the stored configuration has no score rule that can be read ({error})") from error
    return rule


def to_json(config: NetworkConfig) -> dict[str, Any]:
    """Plain values for JSON; `config_from_json` reads them back."""
    return asdict(config)


def _part_from_json(kind: Any, values: Any) -> Any:
    """A dataclass from a mapping, anything else checked against its type (lists become tuples)."""
    if NoneType in get_args(kind):
        if values is None:
            return None
        (kind,) = [one for one in get_args(kind) if one is not NoneType] if len(get_args(kind)) == 2 else [kind]
    if not is_dataclass(kind):
        try:
            return _checker(kind).validate_python(values)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from error
    given, hints = dict(values), get_type_hints(kind, include_extras=True)
    unknown = given.keys() - {each.name for each in fields(kind)}
    if unknown:
        raise ValueError(f"unknown entries: {', '.join(sorted(unknown))}")
    read = {}
    for name, value in given.items():
        try:
            read[name] = _part_from_json(hints[name], value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
    return kind(**read)  # type: ignore[operator]


@cache
def _checker(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
