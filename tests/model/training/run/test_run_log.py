"""What a run writes into its folder besides its state."""

import json
import sys

import pytest

from model.training.run.run_log import RunLog


def step(number, of=100):
    return {"step": number, "of": of, "rate": 0.1, "loss": 1.0 / number}


def test_losses_are_thinned_and_everything_else_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path, every=10) as record:
        record({"doing": "decoding", "done": 1, "total": 2})
        for number in range(1, 26):
            record(step(number, of=25))
        record({"validated": 25, "map_recall": 0.5})
    with RunLog(tmp_path, every=10) as record:
        record({"saved": "x"})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("step") for line in lines] == [10, 20, 25, None, None]
    assert lines[3]["map_recall"] == 0.5
    assert all(line["minutes"] >= 0 for line in lines)
    assert not (tmp_path / "tensorboard").exists()


def test_curves_are_drawn_where_tensorboard_is_installed(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, every=1) as record:
        for number in (1, 2):
            record(step(number))
        record({"validated": 2, "map_recall": 0.5})
        record({"validated": 2, "final": True, "map_recall": 0.75})
    curves = events.EventAccumulator(str(tmp_path / "tensorboard"))
    curves.Reload()
    assert [(event.step, event.value) for event in curves.Scalars("training/loss")] == [(1, 1.0), (2, 0.5)]
    assert [(event.step, event.value) for event in curves.Scalars("validation/map_recall")] == [(2, 0.5)]
    assert [(event.step, event.value) for event in curves.Scalars("final/map_recall")] == [(2, 0.75)]
    assert "training/rate" in curves.Tags()["scalars"]
