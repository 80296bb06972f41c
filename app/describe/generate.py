"""Ask a language model to describe categories, at any endpoint that speaks OpenAI's chat completions.

Nothing is asked without an address. Answers are kept in a cache, so a run that was stopped or failed pays for nothing
twice. What it cost in tokens is counted.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from app.describe.endpoint import DescriptionError, Endpoint, Spent
from model.data.descriptions import QUESTIONS, Descriptions
from model.data.items import category_key
from model.errors import ConfigurationError
from model.whole_file import write_whole

SYSTEM = (
    "You describe categories of things for people who will draw them. Answer each question in one plain sentence of at "
    "most 25 words about the category in general: shapes, parts, proportions and surroundings that can be seen. No "
    "opinions, no numbers of sources, no mention of drawings or photos."
)
_MOST_TOKENS = 10**12  # of one answer; a higher claim of an endpoint is not believed
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


def messages_for(category: str, questions: Sequence[str]) -> list[dict[str, str]]:
    """The conversation that asks for one category."""
    listed = "\n".join(f"{number}. {question}" for number, question in enumerate(questions, start=1))
    name = category.replace("_", " ").replace("-", " ")
    text = f"Category: {name}\n\n{listed}\n\nAnswer with a JSON array of {len(questions)} strings and nothing else."
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


class Generator:
    """Describes categories with one endpoint.

    Args:
        endpoint: where to ask.
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
            DescriptionError: there was no answer, or it could not be read or kept. Earlier answers are in the cache.
            ConfigurationError: this machine's proxy or certificate settings cannot be used.
        """
        for category in categories:
            if not category_key(category) or not _is_text(category):
                raise DescriptionError(f"{category!r} is no name of a category: write it in letters, as UTF-8")
        self._prepare_cache()
        try:
            client = httpx2.Client(timeout=self.endpoint.timeout_s)
        except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:
            raise ConfigurationError(
                f"no request can be made from here ({type(error).__name__}): look at HTTP_PROXY, HTTPS_PROXY, "
                "ALL_PROXY and SSL_CERT_FILE"
            ) from error
        found = {}
        with client:
            for number, category in enumerate(categories, start=1):
                found[category] = self._of_one(client, category)
                progress(number, len(categories))
        return Descriptions(f"a language model ({self.endpoint.model})", self.questions, found)

    def _of_one(self, client: httpx2.Client, category: str) -> tuple[str, ...]:
        body = {"model": self.endpoint.model, "messages": messages_for(category, self.questions), "temperature": 0.2}
        kept = self._place_of(category, body)
        known = None if kept is None else self._kept(kept)
        if known:
            self.spent.cached += 1
            return known
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
                    _keep(kept, sentences)
                return sentences
        raise DescriptionError(
            f"no usable description of {category!r} after {self.endpoint.attempts} attempts: {problem}; "
            "the answers so far are kept, run it again"
        )

    def _prepare_cache(self) -> None:
        """Before anything is paid for."""
        if self._cache is not None:
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _not_kept(self._cache, error) from error

    def _place_of(self, category: str, body: dict[str, Any]) -> Path | None:
        """The cache's file for one question."""
        if self._cache is None:
            return None
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        return self._cache / f"{re.sub(r'[^a-z0-9]+', '', category_key(category))[:40]}-{digest}.json"

    def _kept(self, path: Path) -> tuple[str, ...]:
        """An answer from the cache, or () if there is none or it is damaged; it is then asked for again."""
        try:
            return self._checked(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            return ()

    def _ask(self, client: httpx2.Client, body: dict[str, Any]) -> tuple[httpx2.Response | None, str]:
        """One attempt: the answer, or why there is none and another attempt may help.

        Raises:
            DescriptionError: another attempt cannot help.
        """
        endpoint = self.endpoint
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self.spent.requests += 1
        try:
            response = client.post(endpoint.completions, json=body, headers=headers)
        except httpx2.HTTPError as error:
            return None, f"{endpoint.shown} does not answer ({type(error).__name__})"
        except (httpx2.InvalidURL, ValueError) as error:
            raise DescriptionError(
                f"{endpoint.shown} cannot be asked ({type(error).__name__}): look at SKETCHSEEK_LLM_URL and _MODEL"
            ) from error
        if response.status_code in _RETRIED:
            return None, f"{endpoint.shown} answered {response.status_code}"
        if response.status_code != 200:
            raise DescriptionError(
                f"{endpoint.shown} answered {response.status_code}: look at SKETCHSEEK_LLM_URL, _MODEL and _KEY"
            )
        return response, ""

    def _read(self, response: httpx2.Response) -> tuple[tuple[str, ...], str]:
        """The sentences of an answer, or () and what is wrong with it."""
        try:
            document = response.json()
            self.spent.input_tokens += _count(document.get("usage"), "prompt_tokens")
            self.spent.output_tokens += _count(document.get("usage"), "completion_tokens")
            text = document["choices"][0]["message"]["content"]
            start, end = text.index("["), text.rindex("]")
            return self._checked(json.loads(text[start : end + 1])), ""
        except _UnfitError as error:
            return (), str(error)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            return (), f"the answer is no array of sentences ({type(error).__name__})"

    def _checked(self, answer: object) -> tuple[str, ...]:
        """One sentence per question.

        Raises:
            _UnfitError: it is something else.
        """
        if not isinstance(answer, list) or not all(isinstance(one, str) and _is_text(one) for one in answer):
            raise _UnfitError("the answer is no array of sentences")
        sentences = tuple(" ".join(one.split()) for one in answer)
        if len(sentences) != len(self.questions) or not all(sentences):
            raise _UnfitError(f"the answer has {len(sentences)} sentences for {len(self.questions)} questions")
        return sentences


class _UnfitError(ValueError):
    """An answer that is no description; says why."""


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8, without lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(usage: object, name: str) -> int:
    """Tokens as the endpoint counted them; 0 where it does not say."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return int(value) if isinstance(value, int | float) and 0 < value < _MOST_TOKENS else 0


def _keep(path: Path, sentences: tuple[str, ...]) -> None:
    """Write an answer to the cache; it appears whole or not at all.

    Raises:
        DescriptionError: there is no room or no permission.
    """
    try:
        write_whole(path, json.dumps(sentences, ensure_ascii=False))
    except OSError as error:
        raise _not_kept(path.parent, error) from error


def _not_kept(folder: Path, error: OSError) -> DescriptionError:
    return DescriptionError(
        f"answers cannot be kept in {folder} ({error.strerror}): make room there, or give another folder with --cache"
    )
