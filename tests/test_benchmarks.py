"""The benchmarks' own arithmetic: what is counted is right, tables name scripts that exist, plots are drawn of them."""

import argparse
import http.server
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.layers.convolution import FusedConvolution
from model.layers.linear import linear
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.score_rules import ScoreRule
from tests.paths import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A script of the folder as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_operations_are_counted_though_fused_layers_hide_them(script):
    layer = nn.Linear(3, 5)
    convolution = FusedConvolution(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())

    def step():
        linear(layer, torch.ones(7, 3))
        convolution(torch.ones(1, 2, 6, 6))

    assert script("measure").count_flops(step) == 2 * (7 * 3 * 5 + 6 * 6 * 4 * 2 * 9)
    with torch.inference_mode():  # and the fused layers are back
        assert convolution(torch.ones(1, 2, 6, 6)).shape == (1, 4, 6, 6)


def test_sides_take_turns_after_a_warm_up(script):
    seen = []
    ticks = iter(range(1000))
    sides = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    turns = script("measure").take_turns(sides, 3, clock=lambda: float(next(ticks)))
    assert seen == ["a", "b"] * 4
    assert turns.seconds == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert turns.ms("a", 4) == 250


def test_every_table_is_a_script_that_knows_its_options(script, monkeypatch, capsys):
    tables = script("all")
    for name, (file, quick, full) in {**tables.TABLES, **tables.QUALITY}.items():
        wanted = {word for word in f"{quick} {full}".split() if word.startswith("--")}
        module = script(file)
        if not wanted:
            continue
        monkeypatch.setattr(sys, "argv", [f"{file}.py", "--help"])
        with pytest.raises(SystemExit):
            module.main()
        known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert wanted <= known, f"{name}: {file}.py lacks {wanted - known}"


def test_a_table_is_printed_written_and_drawn(script, tmp_path, capsys):
    measure, plots = script("measure"), script("plots")
    table = measure.Table("encode", "Encoding", {"arithmetic": "arithmetic", "ms": "ms"})
    for ms in (1.5, 12345.6):
        table.add(arithmetic="float32", ms=ms, floor_ms=1.0, batch=1, threads=1)
    table.finish(argparse.Namespace(json=tmp_path / "deep" / "encode.json", clock="cpu"))
    assert "| float32 | 12 346 |" in capsys.readouterr().out
    written = json.loads((tmp_path / "deep" / "encode.json").read_text())
    assert [row["ms"] for row in written["rows"]] == [1.5, 12345.6]
    assert written["machine"]["cores"] >= 1
    assert plots.draw(tmp_path / "deep") == [tmp_path / "deep" / "encode.png"]


def test_merging_keeps_the_sum_of_what_it_merges(script):
    tokens = script("tokens")
    photos = script("model.types").Encoding(
        torch.ones(2, 4), torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 8).long()
    )
    one = tokens.merged(photos, 1)
    torch.testing.assert_close(one.tokens[:, 1], photos.tokens[:, 1:].mean(dim=1))
    assert torch.equal(one.tokens[:, 0], photos.tokens[:, 0])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_more_bits_come_closer(script, bits):
    tokens = script("tokens")
    values = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 10.0, 0.1])
    error = (tokens.bucketed(values, bits) - values).square().mean(0) / values.var(0)
    assert (error < {1: 0.4, 2: 0.15, 4: 0.03}[bits]).all()


def test_the_naive_way_of_relating_gives_what_the_network_gives(script):
    network = build_network(ZSE_TINY, seed=0)
    generator = torch.Generator().manual_seed(3)
    sketch = network.encode_sketch(torch.randn(1, 3, 64, 64, generator=generator))
    photos = network.encode_photo(torch.randn(5, 3, 64, 64, generator=generator))
    with torch.inference_mode():
        expected = network.relate(sketch, photos).logit[0]
        for fused in (False, True):
            found = script("relate").naive(network, sketch.tokens, photos.tokens, 2, fused=fused)
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_whole_query_relates_as_many_photos_as_its_floor_counts(script, monkeypatch, weight):
    scale, galleries = script("scale"), script("galleries")
    network = build_network(replace(ZSE_TINY, score=ScoreRule(weight, recall_weight=1.0)), seed=0)
    related = []

    def relate(sketch, photos):
        related.append(len(photos))
        return type(network).relate(network, sketch, photos)

    monkeypatch.setattr(network, "relate", relate)
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        galleries.write_gallery(gallery, 40, galleries.shape_of(network), network.identity)
        snapshot = GallerySnapshot.load(gallery, network.identity, cache_bytes=0)
        sized = galleries.SizedSnapshot.make(snapshot, 90, network.descriptor_size)
        sized.clock = time.perf_counter
        scale.queries(TwoStageSearcher(network, sized), sized, argparse.Namespace(candidates=30, queries=1))
    assert related
    assert set(related) == {30}


def test_load_counts_every_answer_of_every_client(script):
    """Against a server that refuses every third request."""
    load, serve = script("load"), script("serve")
    bodies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            refused = len(bodies) % 3 == 0
            text = json.dumps({"timings_ms": {"encode": 2.0}}).encode()
            self.send_response(503 if refused else 200)
            if refused:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served = script("services").Served(server.server_address[1], os.getpid(), 1.0)
        work = load.Work([load.form_of(b"drawing %d" % number, {"top_k": "3"}) for number in range(5)])
        rows = serve.measure({"one": [served], "other": [served]}, work, clients=[1, 12], rounds=1, seconds=0.2)
        server.shutdown()
    assert [(row["side"], row["clients"]) for row in rows] == [("one", 1), ("other", 1), ("one", 12), ("other", 12)]
    assert sum(row["answers"] for row in rows) <= len(bodies), "those that warmed up are not counted"
    for row in rows:
        assert row["statuses"][200] > row["statuses"][503] > 0
        assert (row["refused_without_retry_after"], row["stages_p50_ms"]) == (0, {"encode": 2.0})
        assert row["p50_ms"] <= row["p95_ms"] <= row["longest_ms"]
        assert row["per_s"] > 0
        assert row["cpu_ms"] >= 0
    assert len(set(bodies)) == 5
    assert load.summary(1, [load.Seen(5.0, 0, "", {})], 1.0)["per_s"] == 0, "nobody answered"


def test_a_service_that_hangs_at_its_end_is_killed(script, capsys):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(120)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it listens to nobody now
        script("services").end(process, 0.05)
        assert process.poll() == -signal.SIGKILL
    assert "killed" in capsys.readouterr().err
