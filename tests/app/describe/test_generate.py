"""Asking a language model: its answers, its failures, what they cost, and what is kept."""

import base64
import json
from pathlib import Path

import pytest

from app.describe.endpoint import DescriptionError, Endpoint
from app.describe.generate import Generator, messages_for
from model.data.descriptions import QUESTIONS
from model.errors import ConfigurationError
from tests.app.describe.language_model import GOOD, SECRET, Stub


@pytest.fixture
def stub():
    served = Stub()
    yield served
    served.close()


@pytest.fixture
def waits():
    return []


def endpoint(stub, **changes):
    return Endpoint(stub.url, "some-model", "secret", input_price=2.0, output_price=10.0, **changes)


def test_each_category_is_asked_for_once_and_the_cost_is_counted(stub, tmp_path, waits):
    generator = Generator(endpoint(stub), tmp_path / "cache", wait=waits.append)
    shown = []
    found = generator.describe(["Coffee_cup", "lamp"], lambda *at: shown.append(at))
    assert found.of(["coffee cup", "lamp"]) == [tuple(GOOD)] * 2
    assert shown == [(1, 2), (2, 2)]
    assert found.written_by == "a language model (some-model)"
    path, key, body = stub.seen[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "some-model")
    assert body["messages"] == messages_for("Coffee_cup", QUESTIONS)
    assert "Coffee cup" in body["messages"][1]["content"]
    assert all(question in body["messages"][1]["content"] for question in QUESTIONS)
    assert (generator.spent.requests, generator.spent.input_tokens, generator.spent.output_tokens) == (2, 200, 40)
    assert generator.spent.cost(generator.endpoint) == pytest.approx((200 * 2 + 40 * 10) / 1e6)
    again = Generator(endpoint(stub), tmp_path / "cache")
    assert again.describe(["lamp", "coffee cup"]).categories["lamp"] == tuple(GOOD)
    assert (again.spent.cached, again.spent.requests) == (1, 1), "another spelling is another question"
    assert waits == []


def test_trouble_that_passes_is_waited_for(stub, waits):
    stub.answers = [(429, GOOD), (503, GOOD), (200, "I cannot say."), (200, GOOD[:2]), (200, GOOD)]
    generator = Generator(endpoint(stub), wait=waits.append)
    assert generator.describe(["lamp"]).categories["lamp"] == tuple(GOOD)
    assert waits == [2.0, 4.0, 8.0, 16.0]
    assert generator.spent.requests == 5
    assert generator.spent.input_tokens == 300, "answers that could not be used cost as well"


def test_an_answer_between_other_words_is_found(stub):
    stub.answers = [(200, "Here you are:\n```json\n" + json.dumps(GOOD) + "\n```")]
    assert Generator(endpoint(stub)).describe(["lamp"]).categories["lamp"] == tuple(GOOD)


def test_trouble_that_stays_ends_and_keeps_what_was_answered(stub, tmp_path, waits):
    stub.answers = [(200, GOOD), (500, GOOD)]
    generator = Generator(endpoint(stub, attempts=3), tmp_path / "cache", wait=waits.append)
    with pytest.raises(DescriptionError, match=r"'lamp' after 3 attempts: .* answered 500"):
        generator.describe(["cup", "lamp"])
    stub.answers = [(200, GOOD)]
    generator = Generator(endpoint(stub), tmp_path / "cache")
    generator.describe(["cup", "lamp"])
    assert (generator.spent.cached, generator.spent.requests) == (1, 1)


def test_what_no_attempt_can_mend_is_not_repeated(stub, waits):
    stub.answers = [(401, GOOD)]
    with pytest.raises(DescriptionError, match=r"answered 401: look at SKETCHSEEK_LLM_URL"):
        Generator(endpoint(stub), wait=waits.append).describe(["lamp"])
    assert len(stub.seen) == 1


def test_no_answer_at_all(waits):
    silent = Endpoint("http://127.0.0.1:9/v1", "m", attempts=2, timeout_s=2)
    with pytest.raises(DescriptionError, match=r"does not answer"):
        Generator(silent, wait=waits.append).describe(["lamp"])
    assert waits == [2.0]


@pytest.mark.parametrize(
    "said",
    [[1, 2, 3], [*GOOD[:2], None], [*GOOD[:2], ["a"]], [*GOOD[:2], " "], [*GOOD[:2], "\ud800"], {"a": 1}, "[" * 9000],
    ids=["numbers", "null", "list", "blank", "half a letter", "object", "deep"],
)
def test_what_is_no_array_of_sentences_is_asked_for_again(stub, tmp_path, waits, said):
    stub.answers = [(200, said), (200, GOOD)]
    generator = Generator(endpoint(stub), tmp_path, wait=waits.append)
    assert generator.describe(["lamp"]).categories["lamp"] == tuple(GOOD)
    assert waits == [2.0]
    stub.answers = [(200, said)]
    with pytest.raises(DescriptionError, match=r"'cup' after 2 attempts: the answer .*; the answers so far are kept"):
        Generator(endpoint(stub, attempts=2), tmp_path, wait=waits.append).describe(["cup"])
    assert len(list(tmp_path.iterdir())) == 1, "what cannot be used is not kept"


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'{"choices": []}', b"\xff", b"[" * 100_000, b'{"choices": 1}'])
def test_answers_of_another_form_are_told(stub, raw, waits):
    stub.raw = raw
    with pytest.raises(DescriptionError, match="the answer is no array of sentences"):
        Generator(endpoint(stub, attempts=1), wait=waits.append).describe(["lamp"])


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, (0, 0)),
        ([], (0, 0)),
        ({"prompt_tokens": None, "completion_tokens": 7}, (0, 7)),
        ({"prompt_tokens": "12", "completion_tokens": -3}, (0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, (0, 0)),
        ({"prompt_tokens": 10**400, "completion_tokens": 8.0}, (0, 8)),
    ],
)
def test_an_endpoint_that_does_not_count_costs_nothing_and_is_believed_otherwise(stub, usage, counted):
    stub.usage = usage
    generator = Generator(endpoint(stub))
    assert generator.describe(["lamp"]).categories["lamp"] == tuple(GOOD)
    assert (generator.spent.input_tokens, generator.spent.output_tokens) == counted
    assert generator.spent.cost(generator.endpoint) == pytest.approx((counted[0] * 2 + counted[1] * 10) / 1e6)


@pytest.mark.parametrize(
    "content",
    [b"", b'["A round', b"{}", b"[1, 2, 3]", json.dumps(GOOD[:2]).encode(), b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut off", "object", "numbers", "too few", "no text", "deep"],
)
def test_a_damaged_answer_of_the_cache_is_asked_for_again(stub, tmp_path, content):
    Generator(endpoint(stub), tmp_path).describe(["lamp"])
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    generator = Generator(endpoint(stub), tmp_path)
    assert generator.describe(["lamp"]).categories["lamp"] == tuple(GOOD)
    assert (generator.spent.requests, generator.spent.cached) == (1, 0)
    assert kept.read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 1


def test_an_answer_is_kept_whole_or_not_at_all(stub, tmp_path, monkeypatch):
    def cut(path, content):
        real(path, content[:5])
        raise OSError(28, "No space left on device")

    real = Path.write_bytes
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", cut)
        with pytest.raises(DescriptionError, match=r"cannot be kept in .*No space left.*make room"):
            Generator(endpoint(stub), tmp_path / "cache").describe(["lamp"])
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_is_told_before_anything_is_paid_for(stub, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DescriptionError, match=r"answers cannot be kept in .*another folder with --cache"):
        Generator(endpoint(stub), tmp_path / "file").describe(["lamp"])
    assert not stub.seen


@pytest.mark.parametrize("name", ["a/../../b", "x" * 400, "Löwe", "猫"])
def test_any_name_of_a_category_has_a_place_in_the_cache(stub, tmp_path, name):
    for _ in range(2):
        Generator(endpoint(stub), tmp_path / "cache").describe([name])
    assert len(stub.seen) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("name", ["", " - ", "\udcff"])
def test_what_is_no_name_is_refused(stub, name):
    with pytest.raises(DescriptionError, match="is no name of a category"):
        Generator(endpoint(stub)).describe([name])
    assert not stub.seen


@pytest.mark.parametrize("status", [401, 500, None])
def test_a_password_in_the_address_is_sent_and_never_shown(stub, status, waits):
    place = stub.url.removeprefix("http://") if status else "127.0.0.1:9/v1"
    secret = Endpoint(f"http://me:{SECRET}@{place}?token={SECRET}", "m", attempts=1, timeout_s=2)
    assert SECRET not in repr(secret)
    stub.answers = [(status or 200, GOOD)]
    with pytest.raises(DescriptionError) as caught:
        Generator(secret, wait=waits.append).describe(["lamp"])
    assert SECRET not in str(caught.value)
    assert f"http://{place} " in str(caught.value), "what can be shown is"
    if status:
        path, authorization, _ = stub.seen[0]
        assert path == f"/v1/chat/completions?token={SECRET}"
        assert authorization == "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


def test_a_request_that_cannot_be_made_is_told(stub, monkeypatch):
    with pytest.raises(DescriptionError, match=r"cannot be asked \(UnicodeEncodeError\): look at .*_MODEL"):
        Generator(Endpoint(stub.url, "model\udcff")).describe(["lamp"])
    monkeypatch.setenv("ALL_PROXY", f"nonsense://me:{SECRET}@host")
    with pytest.raises(ConfigurationError, match="look at HTTP_PROXY") as caught:
        Generator(endpoint(stub)).describe(["lamp"])
    assert SECRET not in str(caught.value)
