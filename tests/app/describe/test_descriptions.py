"""Descriptions of categories: what comes along, files of one's own, and a stub of a language model's endpoint."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.describe.__main__ import main
from app.describe.endpoint import DescriptionError, Endpoint, endpoint_from_environment
from app.describe.generate import Generator, messages_for
from model.data.descriptions import QUESTIONS, Descriptions, bundled_descriptions, read_descriptions, write_descriptions
from model.data.items import category_key
from model.data.splits import PUBLISHED_SPLITS, reserved_categories, unseen_categories
from model.errors import ConfigurationError, DatasetError

GOOD = ["A round thing.", "It has a lid.", "It stands on tables."]


# --- what comes along


def test_every_test_category_of_the_published_splits_is_described():
    known = bundled_descriptions()
    for split in PUBLISHED_SPLITS:
        assert len(known.of(unseen_categories(split))) == len(unseen_categories(split))
    assert known.of(reserved_categories())


def test_every_category_has_an_answer_to_each_question():
    known = bundled_descriptions()
    assert known.questions == QUESTIONS
    assert "language model" in known.written_by
    assert len(known.categories) > 430
    assert len({category_key(name) for name in known.categories}) == len(known.categories)
    for name, said in known.categories.items():
        assert len(said) == len(QUESTIONS), name
        for sentence in said:
            assert sentence.endswith("."), (name, sentence)
            assert sentence[0].isupper(), (name, sentence)
            assert 2 <= len(sentence.split()) <= 30, (name, sentence)


def test_spelling_does_not_matter_and_what_is_missing_is_named():
    known = bundled_descriptions()
    assert known.of(["Teddy bear"]) == known.of(["teddy-bear"])
    with pytest.raises(DatasetError, match=r"no sentences describe gizmo, qux and.*|no sentences describe gizmo, qux:"):
        known.of(["cat", "gizmo", "qux"])
    with pytest.raises(DatasetError, match="and 2 more"):
        known.of([f"thing{n}" for n in range(7)])


# --- files


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "d.json"
    mine = Descriptions("me", ("How?",), {"b": ("A »b«.",), "a": ('An "a".',)})
    write_descriptions(path, mine)
    assert read_descriptions(path) == Descriptions("me", ("How?",), {"a": ('An "a".',), "b": ("A »b«.",)})
    assert path.read_text(encoding="utf-8").count("\n") >= 5, "a category a line"
    joined = mine.joined(Descriptions("you", ("How?",), {"A": ("Another.",), "c": ("C.",)}))
    assert joined.of(["a", "b", "c"]) == [("Another.",), ("A »b«.",), ("C.",)]
    assert joined.written_by == "me and you"


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"written_by": "x", "questions": ["a"], "categories": {"a": []}}',
        '{"written_by": "x", "questions": ["a"], "categories": {"a": [1]}}',
        '{"written_by": "x", "questions": ["a"], "categories": {"a": [" "]}}',
        '{"written_by": "x", "questions": ["a"], "categories": ["a"]}',
    ],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match="is no file of descriptions"):
        read_descriptions(path)
    with pytest.raises(DatasetError, match="cannot read the descriptions"):
        read_descriptions(tmp_path / "missing.json")


# --- the endpoint


class Stub:
    """An endpoint that gives its answers in turn, the last one for ever."""

    def __init__(self):
        self.answers: list[tuple[int, object]] = [(200, GOOD)]
        self.usage: object = {"prompt_tokens": 100, "completion_tokens": 20}
        self.raw: bytes | None = None
        self.seen: list[tuple[str, str | None, dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.seen.append((self.path, self.headers.get("Authorization"), body))
                status, said = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                content = said if isinstance(said, str) else json.dumps(said)
                answer = {"choices": [{"message": {"content": content}}], "usage": stub.usage}
                data = json.dumps(answer).encode() if stub.raw is None else stub.raw
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


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


def test_it_is_off_by_default_and_the_key_is_never_shown(monkeypatch):
    for name in ("URL", "MODEL", "KEY", "INPUT_PRICE", "OUTPUT_PRICE"):
        monkeypatch.delenv(f"SKETCHSEEK_LLM_{name}", raising=False)
    with pytest.raises(ConfigurationError, match="set SKETCHSEEK_LLM_URL"):
        endpoint_from_environment()
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", "http://there/v1")
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_MODEL"):
        endpoint_from_environment()
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "m")
    monkeypatch.setenv("SKETCHSEEK_LLM_KEY", "hidden-key")
    monkeypatch.setenv("SKETCHSEEK_LLM_INPUT_PRICE", "1.5")
    found = endpoint_from_environment()
    assert (found.key, found.input_price, found.output_price) == ("hidden-key", 1.5, 0.0)
    assert "hidden-key" not in repr(found)
    monkeypatch.setenv("SKETCHSEEK_LLM_OUTPUT_PRICE", "cheap")
    with pytest.raises(ConfigurationError, match="prices of a million tokens"):
        endpoint_from_environment()
    with pytest.raises(ConfigurationError, match="http"):
        Endpoint("file:///etc/passwd", "m")


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


SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    ["http://", f"http://[::1:{SECRET}", f"http://me:{SECRET}@host:99999/v1", f"http://host:{SECRET}/v1",
     f"http://me:{SECRET}@ho\x00st/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_told_without_showing_it(url):
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_URL is no address") as caught:
        Endpoint(url, "m")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", [f"{SECRET}ä", f"{SECRET}\n", f"{SECRET} x", f"\udcff{SECRET}", f"{SECRET}\x7f"])
def test_a_key_that_cannot_be_sent_is_told_without_showing_it(key):
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_KEY") as caught:
        Endpoint("http://host/v1", "m", key)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -1.0])
def test_prices_are_amounts(price):
    with pytest.raises(ConfigurationError, match="prices"):
        Endpoint("http://host/v1", "m", output_price=price)


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


@pytest.mark.parametrize("status", [401, 500])
def test_the_command_shows_no_password(stub, status, capsys, monkeypatch, tmp_path):
    stub.answers = [(status, GOOD)]
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", stub.url.replace("//", f"//me:{SECRET}@"))
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "m")
    monkeypatch.setattr(Generator.__init__, "__defaults__", (None, QUESTIONS, lambda _: None))
    assert main(["gizmo", "--out", str(tmp_path / "o.json"), "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert f"error: {stub.url} answered 401" in said or "error: no usable description of 'gizmo'" in said
    assert SECRET not in said


def test_a_request_that_cannot_be_made_is_told(stub, monkeypatch):
    with pytest.raises(DescriptionError, match=r"cannot be asked \(UnicodeEncodeError\): look at .*_MODEL"):
        Generator(Endpoint(stub.url, "model\udcff")).describe(["lamp"])
    monkeypatch.setenv("ALL_PROXY", f"nonsense://me:{SECRET}@host")
    with pytest.raises(ConfigurationError, match="look at HTTP_PROXY") as caught:
        Generator(endpoint(stub)).describe(["lamp"])
    assert SECRET not in str(caught.value)


# --- the command


def test_the_command_adds_what_is_missing(stub, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", stub.url)
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "some-model")
    (tmp_path / "list.txt").write_text("gizmo\nwhatsit\n")
    out = tmp_path / "mine.json"
    run = ["--list", str(tmp_path / "list.txt"), "--out", str(out), "--cache", str(tmp_path / "cache"), "cat"]
    assert main(run) == 0
    assert set(read_descriptions(out).categories) == {"gizmo", "whatsit"}, "the package describes cats"
    assert "2 requests, 0 answers from the cache, 200 + 40 tokens, cost 0.0000" in capsys.readouterr().err
    assert main(run) == 0
    assert "already" in capsys.readouterr().err
    assert main([*run, "--again"]) == 0
    assert "cat" in read_descriptions(out).categories
    monkeypatch.delenv("SKETCHSEEK_LLM_URL")
    assert main([*run, "another"]) == 1
    assert "SKETCHSEEK_LLM_URL" in capsys.readouterr().err


def test_the_command_says_where_descriptions_cannot_be_written(stub, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", stub.url)
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "some-model")
    out = tmp_path / "missing" / "mine.json"
    assert main(["gizmo", "--out", str(out), "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert "1 requests" in said
    assert "cannot be written" in said
    assert "give a file in a folder that is there" in said
