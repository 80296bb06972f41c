"""A group of options that several commands share, as one dataclass: each field is one option."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints


def with_options(group: type[Any], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the dataclass `group`; it gets their values as its argument `name`.

    Typer reads the options of a command from its signature, so the returned function has a signature that lists them.
    """
    shared = [field.name for field in fields(group)]
    added = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default) for field in fields(group)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = {
            **get_type_hints(group, include_extras=True),
            **get_type_hints(command, include_extras=True),
        }
        own = [one for one in inspect.signature(command).parameters.values() if one.name != name]

        @functools.wraps(command)
        def run(*arguments: Any, **values: Any) -> None:
            grouped = group(**{one: values.pop(one) for one in shared})
            command(*arguments, **{name: grouped}, **values)

        parameters = [one.replace(annotation=hints[one.name]) for one in (*own, *added)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate
