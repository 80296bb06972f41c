"""How many machines a large gallery takes: from the costs of a stage to machines, and a small run of the script."""

import importlib
import json
import sys
from dataclasses import replace

import pytest
import torch

from tests.paths import ROOT

SMALL = (
    "--sizes 400 1200 --ivf-photos 800 --fitted 256 --stored 64 --opened 256 --built 3 --rounds 1 --batches 1 2 "
    "--candidates 10 --hash-bits 32 --http-ms 2 --photos 1000 1000000 --per-s 3 --arrivals 300 "
    "--memory-gib 64 --answer-ms 60000"
)


@pytest.fixture(scope="module")
def script():
    """A script of the folder as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module


@pytest.fixture
def planner(script):
    """A machine whose costs are round numbers."""
    flat = script("costs").IndexCost([0.0, 0.0], [10.0, 5.0], 0.0, 1.0, 500.0, 0.0, 0, 1000, 1.0)
    hashed = replace(flat, photo_ns=[1.0, 1.0], photo_bytes=32.0, shortlist=1000)
    costs = script("costs").Costs(
        batches=[1, 2], decode_ms=2.0, http_ms=3.0, encode_ms=[20.0, 30.0], recall_ms=[1.0, 1.0],
        rerank_ms=[14.0, 24.0], candidates=100, token_disk_ms=0.1, exact_disk_ms=0.2, passes=2,
        index={"flat": flat, "ivf": replace(flat, list_ns=10.0, looked_at=0.02), "hash": hashed},
        process_bytes=1e9, table_bytes=500.0, opening_bytes=3000.0, disk_bytes={"4": 8000.0, "8": 14_000.0},
        exact_bytes=544.0, record_bytes={"4": 6000.0, "8": 12_000.0}, bits=4, decode_photo_ms=4.0,
        encode_photo_ms=10.0, commit_ms=1.0, build_ms=8.0, train_ns=1.0, add_ns=1.0,
    )  # fmt: skip
    plan = script("capacity_plan")
    assumed = plan.Assumptions(cores=2, memory_gib=2e10 / 2**30, processes=1, token_cache_mb=0.0, arrivals=2000)
    return plan.Planner(costs, assumed)


def test_one_machine_ends_where_its_memory_or_its_time_does(planner):
    # 0.8 of 20 GB hold 1 GB, a served version of 1000 bytes a photo and one that is being opened of 3000
    assert planner.by_memory("flat") == pytest.approx((16e9 - 1e9) / 4000, rel=0.01)
    # 1000 ms = 40 for all but recall + 10 of tokens from the disk + 2 passes of 10 ns a photo
    assert planner.by_time("flat") == pytest.approx((1000 - 50) / 20e-6, rel=0.02)
    small = planner.search_ms("flat", 1000, 2)
    assert small == {"front": 10.0, "encode": 30.0, "recall": pytest.approx(1.02), "rerank": 24.0, "disk": 0.0}
    assert planner.search_ms("hash", 5e7, 1)["disk"] == pytest.approx(100 * 0.1 + 2 * 1000 * 0.2), "all from the disk"
    assert planner.saves_from("hash", "flat") == pytest.approx(0.1 * 40 / (18e-6 - 0.1 * 2e-6), rel=0.2)


def test_machines_are_the_fewest_that_answer_in_time(planner):
    plan = planner.plan("flat", 1_000_000, 1.0)
    assert (plan.machines, plan.shards) == (1, 1)
    many = planner.plan("flat", 1_000_000, 100.0)
    assert planner.latency(many, 99) <= planner.assumed.answer_ms
    assert many.machines >= 100 * 0.06 / 0.8 / 2, "two searches of a batch take at least so long on one"
    split = planner.plan("flat", 100_000_000, 1.0)
    assert split.shards >= 100e6 / planner.by_memory("flat")
    assert split.memory_gib * 2**30 <= planner.room
    slow = replace(planner, assumed=replace(planner.assumed, answer_ms=30.0))
    assert slow.plan("flat", 1000, 1.0) is None, "encoding and reranking alone take longer"
    machines = [
        replace(planner, assumed=replace(planner.assumed, memory_gib=gib)).plan("flat", 30_000_000, 20.0).machines
        for gib in (20, 40, 200)
    ]
    assert machines == sorted(machines, reverse=True), "more memory never takes more machines"


def test_a_batch_between_measured_sizes_lies_between_them(planner):
    costs = replace(planner.costs, batches=[1, 4])
    assert [costs.between([10.0, 40.0], batch) for batch in (1, 2, 4, 6)] == [10, 20, 40, 60]


def test_a_small_run_tells_everything_and_is_worked_out_again_without_measuring(script, monkeypatch, capsys, tmp_path):
    capacity, target = script("capacity"), tmp_path / "capacity.json"
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["capacity.py", *SMALL.split(), "--threads", "1", "--json", str(target)])
    capacity.main()
    told = capsys.readouterr().out
    for name in script("capacity_plan").Assumptions.told():
        assert f"--{name.replace('_', '-')} " in told
    written = json.loads(target.read_text())
    assert [row["machines"] >= 1 for row in written["rows"]] == [True] * 6
    assert {row["recall"] for row in written["tables"]["stops"]["rows"]} == {"flat", "IVF", "hash codes"}
    costs = written["costs"]
    assert min(costs["encode_ms"] + costs["rerank_ms"] + [costs["decode_ms"], costs["commit_ms"]]) > 0
    assert costs["disk_bytes"]["8"] > costs["disk_bytes"]["4"] > costs["record_bytes"]["4"]

    monkeypatch.setattr(capacity, "measure", None)
    again = ["capacity.py", *SMALL.split(), "--measured", str(target), "--versions", "1", "--json", f"{target}2"]
    monkeypatch.setattr(sys, "argv", again)
    capacity.main()
    torch.set_num_threads(threads)
    other = json.loads((tmp_path / "capacity.json2").read_text())
    assert other["costs"] == costs
    assert other["rows"][-1]["memory_gib"] != written["rows"][-1]["memory_gib"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--batches 2 4", "rise from 1"),
        ("--sizes 9 3", "smaller and a larger"),
        ("--clock cpu --threads 2", "needs --threads 1"),
        ("--cores 0", "--cores is above 0"),
        ("--merge-ms -1", "--merge-ms is at least 0"),
        ("--measured /nowhere.json", "/nowhere.json"),
    ],
)
def test_options_that_make_no_sense_are_refused(script, monkeypatch, capsys, options, problem):
    monkeypatch.setattr(sys, "argv", ["capacity.py", *options.split()])
    with pytest.raises(SystemExit):
        script("capacity").main()
    assert problem in capsys.readouterr().err
