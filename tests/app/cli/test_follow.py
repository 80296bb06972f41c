"""`sketchseek gallery sync --follow`: a writer as a process of its own, from its first build to its end."""

from __future__ import annotations

import contextlib
import json
import signal
import time

import pytest
from typer.testing import CliRunner

from app.cli import main
from app.cli.gallery import cli
from app.cli.gallery.encoding_options import EncodingOptions
from index_builder import Gallery, gallery_info, latest_version
from index_builder.gallery_errors import GalleryError, GalleryMismatchError, GalleryNotFoundError
from index_builder.store.folder_looks import FolderLooks
from index_builder.store.locks import writer_lock
from model.checkpoints.files import save_checkpoint
from model.errors import ConfigurationError
from tests.app.conftest import picture
from tests.forked import Command
from tests.index_builder.conftest import tiny_network

SECONDS = 120.0


class Writer:
    """The process, what it logs, and the gallery that it writes."""

    def __init__(self, folder, checkpoint, *arguments, **environment):
        self.gallery, self._log = folder / "g", folder / "log.txt"
        common = ["--gallery", str(self.gallery), "--checkpoint", str(checkpoint), "--device", "cpu"]
        self.process = Command(
            ["gallery", "sync", "--follow", "--workers", "1", *common, *map(str, arguments)],
            environment,
            output=folder / "out.txt",
            errors=self._log,
        )

    def lines(self):
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def says(self, event, **fields):
        return any(line["event"] == event and fields.items() <= line.items() for line in self.lines())

    def wait(self, true, what):
        until = time.monotonic() + SECONDS
        while not true():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, f"{what} did not happen; the log:\n{self._log.read_text()}"
            time.sleep(0.05)

    def paths(self):
        with contextlib.suppress(GalleryError):
            rows = Gallery.open(self.gallery).dataset().to_table(["path"])
            return {bytes(path).decode() for path in rows["path"].to_pylist()}
        return set()


@pytest.fixture
def writer(tmp_path, photos, checkpoint):
    """Follows `photos` into a gallery that is not there yet."""
    environment = {"SKETCHSEEK_PHOTOS": str(photos), "SKETCHSEEK_RESCAN_S": "1", "SKETCHSEEK_FULL_RESCAN_S": "2"}
    running = Writer(tmp_path, checkpoint, **environment)
    yield running
    running.process.end()


def test_a_writer_builds_follows_holds_and_ends(writer, photos, tmp_path):
    writer.wait(lambda: writer.says("built the gallery", added=13), "the first build")
    before = writer.paths()
    assert len(before) == 13

    picture(901).save(photos / "new.png")
    writer.wait(lambda: "new.png" in writer.paths(), "adding a photo")
    (photos / "animals" / "animals-0.png").unlink()
    writer.wait(lambda: "animals/animals-0.png" not in writer.paths(), "removing a photo")

    kept, version = writer.paths(), latest_version(writer.gallery)
    photos.rename(tmp_path / "away")
    writer.wait(lambda: FolderLooks.read(writer.gallery).held, "holding photos")
    held = "photos are held: their folder is not believed"
    writer.wait(lambda: writer.says(held, photos=13), "saying that photos are held")
    assert (writer.paths(), latest_version(writer.gallery)) == (kept, version)
    (tmp_path / "away").rename(photos)
    writer.wait(lambda: writer.says("the folder is believed again"), "believing the folder")

    with writer_lock(writer.gallery):
        picture(902).save(photos / "late.png")
        writer.wait(lambda: writer.says("another process writes to the gallery, and is waited for"), "waiting")
        assert "late.png" not in writer.paths()
    writer.wait(lambda: "late.png" in writer.paths(), "going on after another writer")

    writer.process.send_signal(signal.SIGTERM)
    assert writer.process.wait(SECONDS) == 0
    assert writer.lines()[-1]["event"] == "stopped"
    assert not [line for line in writer.lines() if line["level"] in ("error", "critical")]
    assert (tmp_path / "out.txt").read_text() == ""


@pytest.fixture
def invoke(monkeypatch):
    """The command in this process, whose logging it leaves alone; the error that ends it."""
    monkeypatch.setattr("app.logs.configure_logging", lambda *_: None)
    return _invoke


def _invoke(*arguments):
    result = CliRunner().invoke(cli, ["sync", "--follow", *map(str, arguments), "--device", "cpu"])
    assert result.exception is not None
    return result.exception


@pytest.mark.parametrize("option", ["--check-contents", "--moved", "--accept-loss", "--json"])
def test_what_is_for_one_change_is_refused(invoke, option, tmp_path):
    error = invoke(option, "--gallery", tmp_path / "g")
    assert isinstance(error, ConfigurationError)
    assert f"run `sketchseek gallery sync {option}` first" in str(error)


@pytest.mark.parametrize("command", ["follow", "serve"])
def test_sigterm_while_the_network_loads_is_an_end_on_request(command, gallery, monkeypatch):
    def load(*_arguments, **_options):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr("app.logs.configure_logging", lambda *_: None)
    monkeypatch.setattr("model.checkpoints.files.load_checkpoint", load)
    monkeypatch.setattr(EncodingOptions, "network", load)
    arguments = {"follow": ["gallery", "sync", "--follow"], "serve": ["serve", "--port", "0"]}[command]
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody answered SIGTERM"))
    try:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--gallery", str(gallery), "--device", "cpu"])
        assert ended.value.code == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_writer_that_knows_no_folder_does_not_begin(invoke, tmp_path, checkpoint):
    assert isinstance(invoke("--gallery", tmp_path / "g", "--checkpoint", checkpoint), GalleryNotFoundError)


def test_a_writer_with_another_checkpoint_does_not_begin(invoke, gallery, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(tiny_network(1), other)
    assert isinstance(invoke("--gallery", gallery, "--checkpoint", other), GalleryMismatchError)
    assert gallery_info(gallery).photos == 13
