"""The service on a GPU that is simulated: what it says of itself, and searches that a GPU failed at."""

from __future__ import annotations

import re

import pytest

from app.main import create_app
from index_builder import BuildOptions, sync_gallery
from index_builder.index.gpu_faults import SENTENCES
from model.errors import DeviceError
from tests.app.conftest import open_client, picture, settings_for, sketch, wait_until
from tests.index_builder.index.fake_gpus import FakeGpus


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    gpus = FakeGpus()
    gpus.install(monkeypatch)
    return gpus


def found(client):
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "100"})
    assert answer.status_code == 200, answer.text
    return [one["photo_id"] for one in answer.json()["results"]]


def fallbacks(client):
    text = client.get("/metrics").text
    rows = re.findall(r'^sketchseek_recall_fallbacks_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in rows}


def recall(client):
    info = client.get("/gallery").json()
    return info["recall"], info["recall_problem"]


def test_the_gpus_trouble_is_told_and_costs_no_answer(gpu, gallery, photos, network, caplog):
    with open_client(create_app(settings_for(gallery, recall_device="gpu"), network)) as client:
        assert recall(client) == ("flat on 1 gpu", None)
        assert fallbacks(client) == {"memory": 0, "error": 0, "lost": 0}
        expected = found(client)
        gpu.failing = RuntimeError("cudaMalloc error out of memory [2]")
        assert found(client) == expected
        assert recall(client) == ("flat on cpu", SENTENCES["memory"])
        counted = fallbacks(client)["memory"]
        assert counted > 0
        gpu.free = [0]
        picture(55).save(photos / "new.png")
        sync_gallery(gallery, network, options=BuildOptions(workers=1))
        wait_until(lambda: client.get("/gallery").json()["photos"] == 14)  # the follower goes on
        assert set(expected) < set(found(client))
        assert recall(client) == ("flat on cpu", SENTENCES["memory"])
        assert fallbacks(client)["memory"] > counted
        wait_until(lambda: gpu.living == 0)  # the version before is gone
        assert caplog.text.count(SENTENCES["memory"]) == 1
        gpu.failing, gpu.free = None, [10**10]
        picture(56).save(photos / "newer.png")
        sync_gallery(gallery, network, options=BuildOptions(workers=1))
        wait_until(lambda: recall(client) == ("flat on 1 gpu", None))
        assert len(gpu.resources) == 1


def test_a_gpu_that_must_be_there_is_asked_for_at_the_start(gpu, gallery, network):
    gpu.count = 0
    with (
        pytest.raises(DeviceError, match="SKETCHSEEK_RECALL_DEVICE=gpu cannot be followed"),
        open_client(create_app(settings_for(gallery, recall_device="gpu"), network)),
    ):
        pytest.fail("it started")
