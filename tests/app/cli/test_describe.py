"""`sketchseek describe`: adds what is missing, says what it cost, and keeps secrets."""

import pytest

from app.cli import main
from app.describe.generate import Generator
from model.data.descriptions import QUESTIONS, read_descriptions
from tests.app.describe.language_model import GOOD, SECRET, Stub


@pytest.fixture
def stub(monkeypatch):
    served = Stub()
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", served.url)
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "some-model")
    yield served
    served.close()


@pytest.fixture
def describe(capsys, tmp_path):
    """Runs the command; its exit code and what it says."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["describe", "--cache", str(tmp_path / "cache"), *map(str, arguments)])
        return ended.value.code, capsys.readouterr().err

    return run


def test_it_adds_what_is_missing_and_says_what_it_cost(stub, tmp_path, describe):
    (tmp_path / "list.txt").write_text("gizmo\nwhatsit\n")
    out = tmp_path / "mine.json"
    run = ["--list", tmp_path / "list.txt", "--out", out, "cat"]
    code, said = describe(*run)
    assert code == 0
    assert set(read_descriptions(out).categories) == {"gizmo", "whatsit"}, "the package describes cats"
    assert "2 requests, 0 answers from the cache, 200 + 40 tokens, cost 0.0000" in said
    code, said = describe(*run)
    assert (code, len(stub.seen)) == (0, 2)
    assert "already" in said
    assert describe(*run, "--again")[0] == 0
    assert set(read_descriptions(out).categories) == {"gizmo", "whatsit", "cat"}


def test_without_an_address_nobody_is_asked(stub, tmp_path, describe, monkeypatch):
    monkeypatch.delenv("SKETCHSEEK_LLM_URL")
    code, said = describe("gizmo", "--out", tmp_path / "mine.json")
    assert code == 1
    assert "SKETCHSEEK_LLM_URL" in said
    assert not stub.seen


def test_it_says_where_descriptions_cannot_be_written(stub, tmp_path, describe):
    stub.answers = [(200, GOOD)]
    code, said = describe("gizmo", "--out", tmp_path / "missing" / "mine.json")
    assert code == 1
    assert "1 requests" in said
    assert "cannot be written" in said
    assert "give a file in a folder that is there" in said


@pytest.mark.parametrize("status", [401, 500])
def test_it_shows_no_password(stub, status, tmp_path, describe, monkeypatch):
    stub.answers = [(status, GOOD)]
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", stub.url.replace("//", f"//me:{SECRET}@"))
    monkeypatch.setattr(Generator.__init__, "__defaults__", (None, QUESTIONS, lambda _: None))
    code, said = describe("gizmo", "--out", tmp_path / "o.json")
    assert code == 1
    assert f"{stub.url} answered 401" in said or "no usable description of 'gizmo'" in said
    assert SECRET not in said
