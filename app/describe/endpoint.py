"""The language model's endpoint, and what asking it costs. Its secrets are never shown."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

import httpx2

from model.errors import ConfigurationError, SketchseekError

VARIABLES = tuple(f"SKETCHSEEK_LLM_{name}" for name in ("URL", "MODEL", "KEY", "INPUT_PRICE", "OUTPUT_PRICE"))


class DescriptionError(SketchseekError):
    """The language model gave no usable answer."""

    code = "no_description"


@dataclass(frozen=True)
class Endpoint:
    """Where a language model is asked.

    Attributes:
        url: such as "http://localhost:11434/v1"; "/chat/completions" is added to its path. A name and password
            in it are sent and never shown.
        model: its name there.
        key: sent as a bearer token and never shown; "" sends none.
        timeout_s: for one answer.
        attempts: how often one question is sent before giving up.
        input_price, output_price: of a million tokens, in any currency, for the cost that is reported.
    """

    url: str = field(repr=False)
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    attempts: int = 5
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or not self.model:
            raise ConfigurationError(
                "describing categories needs an endpoint and a model: set SKETCHSEEK_LLM_URL (http://... or "
                "https://...) and SKETCHSEEK_LLM_MODEL"
            )
        try:
            parsed = httpx2.URL(self.url)
            possible = bool(parsed.host) and 0 < (parsed.port or 1) < 65536
        except (httpx2.InvalidURL, ValueError):
            possible = False
        if not possible:  # the address may hold a password, so it is not shown
            raise ConfigurationError("SKETCHSEEK_LLM_URL is no address: write it as http://HOST:PORT/v1")
        if not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ConfigurationError(
                "SKETCHSEEK_LLM_KEY holds a blank, a line break or a letter that no key has: copy it again"
            )
        if self.attempts < 1 or self.timeout_s <= 0:
            raise ConfigurationError("attempts must be at least 1 and timeout_s above 0")
        if not all(math.isfinite(price) and price >= 0 for price in (self.input_price, self.output_price)):
            raise ConfigurationError("prices of a million tokens are numbers of 0 or more")

    @property
    def shown(self) -> str:
        """The address as messages may show it: without name, password and query."""
        parsed = httpx2.URL(self.url)
        port = "" if parsed.port is None else f":{parsed.port}"
        host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
        return f"{parsed.scheme}://{host}{port}{parsed.path}"

    @property
    def completions(self) -> httpx2.URL:
        """Where requests go."""
        parsed = httpx2.URL(self.url)
        return parsed.copy_with(path=f"{parsed.path.rstrip('/')}/chat/completions")


@dataclass
class Spent:
    """What a run cost.

    Attributes:
        requests: sent, repeated ones included.
        cached: answers that the cache had.
        input_tokens, output_tokens: as the endpoint counted them.
    """

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def cost(self, endpoint: Endpoint) -> float:
        """In the currency of the endpoint's prices."""
        return (self.input_tokens * endpoint.input_price + self.output_tokens * endpoint.output_price) / 1e6


def endpoint_from_environment() -> Endpoint:
    """The endpoint that SKETCHSEEK_LLM_URL, _MODEL, _KEY, _INPUT_PRICE and _OUTPUT_PRICE name.

    Raises:
        ConfigurationError: address or model is not set, or a value makes no sense.
    """
    url, model, key, *prices = (os.environ.get(name, "") for name in VARIABLES)
    try:
        amounts = [float(price or 0) for price in prices]
    except ValueError as error:
        raise ConfigurationError(
            "SKETCHSEEK_LLM_INPUT_PRICE and _OUTPUT_PRICE are prices of a million tokens"
        ) from error
    return Endpoint(url, model, key, input_price=amounts[0], output_price=amounts[1])
