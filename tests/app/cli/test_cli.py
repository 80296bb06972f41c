"""The command line: quick to help, one line per error, JSON for machines, the same as from the service."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from importlib import metadata
from unittest.mock import patch

import pytest
import structlog
from PIL import Image, ImageDraw

from app.cli import COMMANDS, main
from app.logs import configure_logging
from app.main import create_app
from app.setup.doctor import examine
from model.images.opening import open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE, sketch_image
from sketchseek_client import Client, Explanation, SearchAnswer
from tests.app.conftest import READ_KEY, settings_for, sketch
from tests.app.http.fuzz import running


def run(capsys, *arguments):
    """Exit code, stdout and stderr of the command line in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture
def drawn(tmp_path):
    path = tmp_path / "sketch.png"
    path.write_bytes(sketch())
    return path


def test_help_needs_neither_torch_nor_faiss_nor_fastapi():
    code = (
        "import sys, contextlib, io\n"
        "from app.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "print(sorted(m for m in ('torch', 'faiss', 'fastapi', 'lance', 'timm') if m in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ended.stdout.strip() == "[]"


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("serve", "gallery", "search", "evaluate", "convert", "doctor"):
        assert name in COMMANDS
        assert f" {name} " in out


@pytest.mark.parametrize("name", ["serve", "gallery", "search", "convert", "doctor"])
def test_every_command_has_help(capsys, name):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Usage" in out


def test_the_help_of_a_command_is_more_than_its_line_in_the_list(capsys):
    """The list has one short line for each command; the command's own help says what it reads and what it does."""
    _, out, _ = run(capsys, "serve", "--help")
    assert "SKETCHSEEK_..." in " ".join(out.split())


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"sketchseek {metadata.version('sketchseek')}\n", "")


def test_an_unknown_command_is_an_error(capsys):
    code, _, err = run(capsys, "paint")
    assert code == 2
    assert "paint" in err


def test_search_prints_paths_best_first(capsys, shared_gallery, checkpoint, drawn):
    given = ["--gallery", shared_gallery, "--checkpoint", checkpoint, "--top-k", "4"]
    code, out, _ = run(capsys, "search", drawn, *given)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 4
    code, out, _ = run(capsys, "search", drawn, *given, "--json")
    answer = json.loads(out)
    assert [line.split()[-1] for line in lines] == [result["path"] for result in answer["results"]]
    assert answer["total_photos"] == 13


def test_a_large_photographed_sketch_is_decoded_as_the_service_does_it(capsys, shared_gallery, checkpoint, tmp_path):
    """Four times as many pixels as clean-up looks at would cost time and memory, and give other numbers."""
    large = Image.new("L", (4000, 4000), 255)
    ImageDraw.Draw(large).line([(400, 500), (3500, 900), (2000, 3600), (400, 500)], fill=0, width=90)
    path = tmp_path / "sketch.jpg"
    large.save(path)
    given = ["--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu", "--json"]
    served = open_image(path.read_bytes(), None, SKETCH_LONGEST_SIDE, whole=True)
    assert served.size == (2000, 2000)
    with (
        patch("model.images.sent_picture.sketch_image", side_effect=sketch_image) as searched,
        patch("app.search.explaining.sketch_image", side_effect=sketch_image) as explained,
    ):
        run(capsys, "search", path, *given)
        run(capsys, "explain", path, *given)
    sketches = [call.args[0] for prepare in (searched, explained) for call in prepare.call_args_list]
    assert len(sketches) == 2
    assert all(image.tobytes() == served.tobytes() for image in sketches)


@pytest.mark.parametrize(
    "case",
    [
        (["/nowhere.png"], "cannot read /nowhere.png"),
        (["--tag", "unheard-of"], "unheard-of"),
        (["--gallery", "/nowhere"], "no gallery"),
        (["--checkpoint", "/nowhere"], "no checkpoint"),
    ],
)
def test_what_search_cannot_do_is_one_line(capsys, shared_gallery, checkpoint, drawn, case):
    arguments, says = case
    picture_first = [] if arguments[0].endswith(".png") else [drawn]
    given = ["--gallery", shared_gallery, "--checkpoint", checkpoint]
    code, out, err = run(capsys, "search", *picture_first, *given, *arguments)
    assert (code, out) == (1, "")
    assert says in err
    assert err.startswith("sketchseek: ")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("in_float32")
def test_each_picture_of_a_folder_searches(capsys, shared_gallery, network, checkpoint, tmp_path):
    (tmp_path / "more").mkdir()
    for name, data in (("b.png", sketch()), ("more/a.PNG", sketch(4)), ("c.png", b"no picture"), ("notes.txt", b"x")):
        (tmp_path / name).write_bytes(data)
    local = ["--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu"]
    with serving(shared_gallery, network) as url:
        for where in (local, ["--url", url, "--key", READ_KEY]):
            code, out, _ = run(capsys, "search", tmp_path, *where, "--top-k", "2", "--json")
            assert code == 1, "one of them is no picture"
            documents = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
            assert [one["sketch"] for one in documents] == ["b.png", "c.png", "more/a.PNG"]
            assert documents[1]["problem"]["code"] == "unreadable_image"
            _, alone, _ = run(capsys, "search", tmp_path / "more" / "a.PNG", *where, "--top-k", "2", "--json")
            paths = [one["path"] for one in json.loads(alone.splitlines()[-1])["results"]]
            assert [one["path"] for one in documents[2]["answer"]["results"]] == paths
        code, out, err = run(capsys, "search", tmp_path, "--url", url, "--key", "wrong")
        assert (code, err.count("sketchseek: ")) == (1, 1), "a wrong key is said once"
        code, out, err = run(capsys, "search", tmp_path, *where, "--tag", "unheard-of", "--json")
        assert (code, out.count('"problem"'), err.count("unheard-of")) == (1, 0, 1), "no sketch can mend that"
    (tmp_path / "c.png").unlink()
    code, out, _ = run(capsys, "search", tmp_path, *local, "--top-k", "2")
    assert (code, len(out.splitlines())) == (0, 6)
    code, _, err = run(capsys, "search", shared_gallery, *local)
    assert (code, "no picture in" in err) == (1, True)


def test_doctor_finds_what_is_wrong_and_says_how_to_mend_it(capsys, shared_gallery, checkpoint, tmp_path):
    code, out, _ = run(
        capsys, "doctor", "--gallery", shared_gallery, "--checkpoint", checkpoint, "--port", "0", "--json"
    )
    findings = {one["check"]: one for one in json.loads(out)}
    assert (code, findings["gallery"]["verdict"]) == (0, "ok")
    assert "13 photos" in findings["gallery"]["says"]
    code, out, _ = run(capsys, "doctor", "--gallery", tmp_path / "none", "--checkpoint", checkpoint, "--port", "0")
    assert code == 1
    assert "no gallery at" in out
    assert "->" in out


def test_doctor_knows_a_taken_port_another_checkpoint_and_an_open_door(shared_gallery, tmp_path):
    import socket

    from model.checkpoints.files import save_checkpoint
    from model.networks.registry import build_network, preset

    other = tmp_path / "other.safetensors"
    save_checkpoint(build_network(preset("zse-tiny"), seed=5), other)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(shared_gallery, checkpoint=str(other), port=port)
        findings = {one.check: one for one in examine(settings)}
    assert findings["port"].verdict == "problem"
    assert findings["gallery"].verdict == "problem"
    assert "rebuild" in findings["gallery"].says
    open_door = {one.check: one for one in examine(settings_for(shared_gallery, host="0.0.0.0", port=0))}  # noqa: S104
    assert open_door["keys"].verdict == "warning"
    assert all(one.mend for one in findings.values() if one.verdict != "ok")


@contextlib.contextmanager
def serving(shared_gallery, network):
    """The address of a ready service that asks for a key, and logs to stderr as the command line does."""
    handlers = logging.getLogger().handlers
    configure_logging()
    with running(create_app(settings_for(shared_gallery, read_key=READ_KEY), network)) as url:
        with Client(url, READ_KEY) as client:
            while client.ready().status != "ready":
                pass
        yield url
    logging.getLogger().handlers = handlers
    structlog.reset_defaults()


@pytest.fixture
def in_float32(monkeypatch):
    """As the `network` that the service of these tests has."""
    monkeypatch.setenv("SKETCHSEEK_DTYPE", "float32")


@pytest.mark.usefixtures("in_float32")
def test_search_asks_a_service_and_prints_the_document_that_a_search_on_this_machine_prints(
    capsys, shared_gallery, network, checkpoint, drawn
):
    local = ["--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu"]
    answers = []
    with serving(shared_gallery, network) as url:
        for where in (["--url", url, "--key", READ_KEY], local):
            code, out, _ = run(capsys, "search", drawn, *where, "--top-k", "2", "--json")
            assert code == 0
            answers.append(json.loads(out))
    served, own = answers
    assert all(SearchAnswer.model_validate(answer) for answer in answers)
    assert served.keys() == own.keys()
    assert served.pop("timings_ms").keys() == own.pop("timings_ms").keys()
    for theirs, ours in zip(served["results"], own["results"], strict=True):
        assert theirs.pop("url") == f"/photos/{ours['photo_id']}"
        assert theirs.pop("thumbnail_url") == f"/photos/{ours['photo_id']}/thumbnail"
        assert (ours.pop("url"), ours.pop("thumbnail_url")) == (None, None)
        for score in ("score", "recall_score", "relation_score"):
            assert theirs.pop(score) == pytest.approx(ours.pop(score), abs=1e-4)
    assert served == own


@pytest.mark.usefixtures("in_float32")
def test_explain_prints_the_document_of_the_service(capsys, shared_gallery, network, checkpoint, drawn):
    code, out, _ = run(
        capsys, "explain", drawn, "--gallery", shared_gallery, "--checkpoint", checkpoint, "--device", "cpu", "--json"
    )
    assert code == 0
    own = Explanation.model_validate_json(out)
    with serving(shared_gallery, network) as url, Client(url, READ_KEY) as client:
        served = client.explain(drawn, own.photo_id)
    assert own.timings_ms.keys() == served.timings_ms.keys()
    assert own.sketch_image == served.sketch_image
    assert own.relation_score == pytest.approx(served.relation_score, abs=1e-4)


def test_what_a_service_refuses_is_one_line(capsys, shared_gallery, network, drawn):
    with serving(shared_gallery, network) as url:
        code, out, err = run(capsys, "search", drawn, "--url", url, "--key", "wrong")
    assert (code, out) == (1, "")
    assert "key" in err
    assert len([line for line in err.splitlines() if line.startswith("sketchseek: ")]) == 1
