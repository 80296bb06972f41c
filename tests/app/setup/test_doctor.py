"""What `doctor` says of the disk; tests/app/cli/test_cli.py runs the command."""

import shutil
from types import SimpleNamespace

import pytest

from app.setup.doctor import examine
from index_builder.store.quantise import TokenShape
from model.checkpoints.files import load_checkpoint
from tests.app.conftest import settings_for


def disk(settings):
    (found,) = (one for one in examine(settings) if one.check == "disk")
    return found


@pytest.mark.parametrize("bundled", [True, False])
def test_a_disk_with_little_room_is_told_what_photos_of_this_checkpoint_take(
    shared_gallery, checkpoint, monkeypatch, bundled
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_000_000))
    name = "zse-lite" if bundled else str(checkpoint)
    found = disk(settings_for(shared_gallery, checkpoint=name, port=0))
    size = TokenShape.of(load_checkpoint(name, "cpu", "float32")).bytes_per_photo
    assert (found.verdict, found.says) == ("warning", "1.0 GB free where the gallery is")
    assert found.mend == f"free some space: a gallery takes about {size / 1000:.0f} kB per photo"


def test_a_disk_with_room_is_fine(shared_gallery, checkpoint, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000))
    assert disk(settings_for(shared_gallery, checkpoint=str(checkpoint), port=0)).verdict == "ok"
