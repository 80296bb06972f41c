"""What `doctor` says of the disk and of GPUs; tests/app/cli/test_cli.py runs the command."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from app.setup.doctor import examine
from index_builder.index.gpu_faults import SENTENCES
from index_builder.store.quantise import TokenShape
from model.checkpoints import gpu_check
from model.checkpoints.files import load_checkpoint
from model.checkpoints.gpu_check import why_unusable
from tests.app.conftest import settings_for
from tests.index_builder.index.fake_gpus import FakeGpus


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


def about(settings, check):
    (found,) = (one for one in examine(settings) if one.check == check)
    return found


def test_a_gpu_that_cannot_be_used_is_told_with_what_to_do(shared_gallery, checkpoint, monkeypatch):
    settings = settings_for(shared_gallery, checkpoint=str(checkpoint), device="auto", port=0)
    why_unusable.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(gpu_check, "_run_kernel", raises(RuntimeError("CUDA error: unknown error")))
    try:
        found = about(settings, "torch")
    finally:
        why_unusable.cache_clear()
    assert (found.verdict, "although there is a GPU" in found.says) == ("warning", True)
    assert found.mend == "cuda does not compute (CUDA error: unknown error): update its driver, or restart the machine"


def test_faiss_is_tried_on_the_gpus(shared_gallery, checkpoint, monkeypatch):
    network = settings_for(shared_gallery, checkpoint=str(checkpoint), port=0)
    gpus = FakeGpus(2)
    gpus.install(monkeypatch)
    assert about(network, "faiss").says.endswith("on CPU"), "where the network is"
    settings = network.model_copy(update={"recall_device": "gpu"})
    assert about(settings, "faiss").says.endswith("on 2 GPU")
    cpu = settings.model_copy(update={"recall_device": "cpu"})
    assert about(cpu, "faiss").says.endswith("on CPU")
    gpus.install(monkeypatch)
    gpus.free = [10, 10]
    found = about(settings, "faiss")
    assert (found.verdict, SENTENCES["memory"] in found.says, "GPU 0 has 0 MB free" in found.mend) == (
        "warning", True, True
    )  # fmt: skip
    gpus.free = [10, 10**10]
    found = about(settings, "faiss")
    assert (found.verdict, found.says.endswith("on 1 GPU"), "GPU 0 has 0 MB free" in found.mend) == (
        "warning", True, True
    )  # fmt: skip
    gpus.count = 0
    assert about(network, "faiss").verdict == "ok"
    must = settings.model_copy(update={"recall_device": "gpu"})
    found = about(must, "faiss")
    assert (found.verdict, "SKETCHSEEK_RECALL_DEVICE=gpu cannot" in found.says) == ("problem", True)


def raises(error):
    def fails(_device):
        raise error

    return fails
