"""SECURITY.md: every promise names the tests that keep it, and each of them is there."""

import ast
import re
from pathlib import Path

import faiss
import pytest

from app.settings import Settings
from index_builder import BuildOptions, GallerySnapshot, RecallSettings, build_gallery
from tests.app.conftest import fill
from tests.fault.jobs import NETWORK
from tests.paths import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*`tests/[^|]+) \|$", PAGE, re.MULTILINE)
OWN_MESSAGES = ROOT / "model" / "pickled_messages.py"  # between processes of ours
PACKAGES = ("app", "index_builder", "model", "sketchseek_client")


def functions_in(file):
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_there_are_promises():
    assert len(ROWS) >= 30


@pytest.mark.parametrize(("promise", "kept_by"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_every_promise_is_kept_by_tests_that_exist(promise, kept_by):
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", kept_by)
    assert named, promise
    for file, name in named:
        assert (ROOT / file).is_file(), file
        if name:
            assert name in functions_in(ROOT / file), f"{file} has no {name}"
        else:
            assert any(one.startswith("test_") for one in functions_in(ROOT / file)) or Path(file).name == "fuzz.py"


def test_settings_named_there_exist():
    named = set(re.findall(r"SKETCHSEEK_(\w+)", PAGE))
    assert named <= {name.upper() for name in Settings.model_fields}


def calls():
    """Every call in the product's own code: file, line, dotted name, keywords."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    yield (
                        file,
                        node.lineno,
                        ast.unparse(node.func),
                        {k.arg: ast.unparse(k.value) for k in node.keywords},
                    )


def test_nothing_unpickles_evaluates_or_runs_a_shell():
    for file, line, name, keywords in calls():
        where = f"{file.relative_to(ROOT)}:{line}: {name}"
        assert name not in {"eval", "exec", "os.system", "os.popen", "marshal.loads"}, where
        if file != OWN_MESSAGES:
            assert not re.match(r"(c?pickle|dill|joblib|shelve)\.", name), where
        assert keywords.get("shell", "False") == "False", where
        assert keywords.get("allow_pickle", "False") == "False", where
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", where


def test_a_faiss_file_is_read_only_where_its_checksum_is_the_one_written(tmp_path, monkeypatch):
    gallery = tmp_path / "gallery"
    build_gallery(fill(tmp_path / "photos", 40), gallery, NETWORK, options=BuildOptions(workers=1))
    ivf = RecallSettings(kind="ivf")
    GallerySnapshot.load(gallery, NETWORK.identity, recall=ivf)
    read, real = [], faiss.read_index

    def counted(*given):
        read.append(given)
        return real(*given)

    monkeypatch.setattr(faiss, "read_index", counted)
    assert GallerySnapshot.load(gallery, NETWORK.identity, recall=ivf).load_times.recall_cached
    assert len(read) == 1
    (index,) = (gallery / "recall").glob("*.faiss")
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    assert not GallerySnapshot.load(gallery, NETWORK.identity, recall=ivf).load_times.recall_cached
    assert len(read) == 1, "damaged bytes never reach FAISS"
