"""Ask a language model to describe categories, at any endpoint that speaks OpenAI's chat completions.

Nothing here runs by itself: an address has to be given. Answers are kept in a cache, so that a run that was stopped or
failed in between pays for nothing twice, and what it cost in tokens is counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from model.data.items import category_key
from model.descriptions import QUESTIONS, Descriptions
from model.errors import ConfigurationError, SketchseekError

SYSTEM = (
    "You describe categories of things for people who will draw them. Answer each question in one plain sentence of at "
    "most 25 words about the category in general: shapes, parts, proportions and surroundings that can be seen. No "
    "opinions, no numbers of sources, no mention of drawings or photos."
)
VARIABLES = tuple(f"SKETCHSEEK_LLM_{name}" for name in ("URL", "MODEL", "KEY", "INPUT_PRICE", "OUTPUT_PRICE"))
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


class DescriptionError(SketchseekError):
    """The language model gave no usable answer."""

    code = "no_description"


@dataclass(frozen=True)
class Endpoint:
    """Where a language model is asked.

    Attributes:
        url: such as "http://localhost:11434/v1"; "/chat/completions" is added.
        model: its name there.
        key: sent as a bearer token; "" sends none.
        timeout_s: for one answer.
        attempts: how often one question is sent before it is given up.
        input_price, output_price: of a million tokens, in any currency, for the cost that is reported.
    """

    url: str
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
        if self.attempts < 1 or self.timeout_s <= 0:
            raise ConfigurationError("attempts must be at least 1 and timeout_s above 0")


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
        ConfigurationError: address or model is not set, or a price is no number.
    """
    url, model, key, *prices = (os.environ.get(name, "") for name in VARIABLES)
    try:
        amounts = [float(price or 0) for price in prices]
    except ValueError as error:
        raise ConfigurationError(
            "SKETCHSEEK_LLM_INPUT_PRICE and _OUTPUT_PRICE are prices of a million tokens"
        ) from error
    return Endpoint(url, model, key, input_price=amounts[0], output_price=amounts[1])


def messages_for(category: str, questions: Sequence[str]) -> list[dict[str, str]]:
    """The conversation that asks for one category."""
    listed = "\n".join(f"{number}. {question}" for number, question in enumerate(questions, start=1))
    name = category.replace("_", " ").replace("-", " ")
    text = f"Category: {name}\n\n{listed}\n\nAnswer with a JSON array of {len(questions)} strings and nothing else."
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


class Generator:
    """Describes categories with one endpoint.

    Args:
        endpoint: whom to ask.
        cache: folder of answers, or None to keep none.
        questions: what to ask of each category.
        wait: how to wait so many seconds between attempts.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Path | None = None,
        questions: Sequence[str] = QUESTIONS,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.questions = tuple(questions)
        self.spent = Spent()
        self._cache, self._wait = cache, wait

    def describe(
        self, categories: Sequence[str], progress: Callable[[int, int], None] = lambda *_: None
    ) -> Descriptions:
        """Sentences for every category.

        Args:
            categories: in any spelling.
            progress: called with (done, total).

        Raises:
            DescriptionError: an answer could not be had or read; what was answered before is in the cache.
        """
        found = {}
        with httpx2.Client(timeout=self.endpoint.timeout_s) as client:
            for number, category in enumerate(categories, start=1):
                found[category] = self._of_one(client, category)
                progress(number, len(categories))
        return Descriptions(f"a language model ({self.endpoint.model})", self.questions, found)

    def _of_one(self, client: httpx2.Client, category: str) -> tuple[str, ...]:
        body = {"model": self.endpoint.model, "messages": messages_for(category, self.questions), "temperature": 0.2}
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        kept = None if self._cache is None else self._cache / f"{category_key(category)}-{digest}.json"
        if kept is not None and kept.is_file():
            self.spent.cached += 1
            return tuple(json.loads(kept.read_text(encoding="utf-8")))
        problem = ""
        for attempt in range(self.endpoint.attempts):
            if attempt:
                self._wait(min(60.0, 2.0**attempt))
            response, problem = self._ask(client, body)
            if response is None:
                continue
            sentences, problem = self._read(response)
            if sentences:
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps(sentences, ensure_ascii=False), encoding="utf-8")
                return sentences
        raise DescriptionError(
            f"no usable description of {category!r} after {self.endpoint.attempts} attempts: {problem}; "
            "the answers so far are kept, run it again"
        )

    def _ask(self, client: httpx2.Client, body: dict[str, Any]) -> tuple[httpx2.Response | None, str]:
        """One attempt: the answer, or why there is none and another attempt may help.

        Raises:
            DescriptionError: another attempt cannot help.
        """
        headers = {"Authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {}
        self.spent.requests += 1
        try:
            response = client.post(f"{self.endpoint.url.rstrip('/')}/chat/completions", json=body, headers=headers)
        except httpx2.HTTPError as error:
            return None, f"{self.endpoint.url} does not answer ({type(error).__name__})"
        if response.status_code in _RETRIED:
            return None, f"{self.endpoint.url} answered {response.status_code}"
        if response.status_code != 200:
            raise DescriptionError(
                f"{self.endpoint.url} answered {response.status_code}: look at SKETCHSEEK_LLM_URL, _MODEL and _KEY"
            )
        return response, ""

    def _read(self, response: httpx2.Response) -> tuple[tuple[str, ...], str]:
        """The sentences of an answer, or () and what is wrong with it."""
        try:
            document = response.json()
            used = document.get("usage") or {}
            self.spent.input_tokens += int(used.get("prompt_tokens", 0))
            self.spent.output_tokens += int(used.get("completion_tokens", 0))
            text = document["choices"][0]["message"]["content"]
            start, end = text.index("["), text.rindex("]")
            sentences = tuple(" ".join(str(one).split()) for one in json.loads(text[start : end + 1]))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return (), f"the answer is no array of sentences ({type(error).__name__})"
        if len(sentences) != len(self.questions) or not all(sentences):
            return (), f"the answer has {len(sentences)} sentences for {len(self.questions)} questions"
        return sentences, ""
