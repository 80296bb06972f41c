"""Every network behind the same gallery, service and commands, with flat recall and with hash codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from app.cli import main
from app.main import create_app
from index_builder import BuildOptions, GallerySnapshot, build_gallery
from index_builder.index.settings import Choice
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.network import Network
from model.networks.registry import build_network, preset
from tests.app.conftest import open_client, picture, settings_for, sketch

NETWORKS = ("zse-tiny", "crossatnet-tiny", "text-aligned-tiny")
PHOTOS = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        picture(number).save(root / f"{number}.png")
    return root


class Built:
    """A network, its checkpoint and a gallery."""

    def __init__(self, name: str, place: Path, photos: Path) -> None:
        self.name = name
        self.checkpoint, self.gallery = place / f"{name}.safetensors", place / name
        save_checkpoint(build_network(preset(name), seed=0), self.checkpoint)
        self.network: Network = load_checkpoint(self.checkpoint, "cpu", "float32")
        build_gallery(photos, self.gallery, self.network, options=BuildOptions(workers=1))


@pytest.fixture(scope="module", params=NETWORKS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Built:
    return Built(request.param, tmp_path_factory.mktemp("built"), folder)


def search(client: Any, **data: str) -> dict[str, Any]:
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "10", "candidates": "10", **data})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("recall", ["flat", "hash"])
def test_it_is_served_and_says_what_it_can_explain(built: Built, recall: str) -> None:
    settings = settings_for(built.gallery, recall=recall, hash_shortlist=PHOTOS)
    with open_client(create_app(settings, built.network)) as client:
        results = search(client)["results"]
        assert len(results) == 10
        assert all(0 <= one["relation_score"] <= 1 for one in results)
        assert [one["score"] for one in results] == sorted((one["score"] for one in results), reverse=True)
        asked = {"photo_id": results[0]["photo_id"]}
        said = client.post("/explain", files={"sketch": sketch()}, data=asked).json()
        assert said["matches"] == (built.name != "crossatnet-tiny")
        assert bool(said["correspondences"]) == said["matches"]
        attention = client.post("/explain", files={"sketch": sketch()}, data={**asked, "format": "attention"})
        assert Image.open(io.BytesIO(attention.content)).format == "PNG"
        overlay = client.post("/explain", files={"sketch": sketch()}, data={**asked, "format": "overlay"})
        if said["matches"]:
            assert overlay.status_code == 200
        else:
            assert (overlay.status_code, overlay.json()["code"]) == (422, "not_explainable")
            assert "attention" in overlay.json()["detail"]
        explained = search(client, explain="true", top_k="3")["results"]
        assert [bool(one["correspondences"]) for one in explained] == [said["matches"]] * 3


def test_hash_codes_with_a_whole_shortlist_find_what_flat_search_finds(built: Built) -> None:
    """With as many exact scores as photos, only the order of equal ones could differ."""
    answers = []
    for recall in ("flat", "hash"):
        settings = settings_for(built.gallery, recall=recall, hash_shortlist=PHOTOS)
        with open_client(create_app(settings, built.network)) as client:
            answers.append(search(client)["results"])
    flat, hashed = answers
    assert [one["photo_id"] for one in hashed] == [one["photo_id"] for one in flat]
    for one, other in zip(hashed, flat, strict=True):
        assert one["recall_score"] == pytest.approx(other["recall_score"], abs=1e-5)


def test_which_codes_are_taken(built: Built) -> None:
    from index_builder import RecallSettings

    snapshot = GallerySnapshot.load(
        built.gallery,
        built.network.identity,
        recall=RecallSettings(kind="hash", hash_bits=8, device="cpu"),
        hash_projection=built.network.hash_projection,
    )
    learnt = built.name == "crossatnet-tiny"
    assert snapshot.recall_kind == f"hash of {'16 bits (learnt)' if learnt else '8 bits (itq)'} on cpu"


def ended(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def test_the_commands_take_hash_codes(built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sketch.png").write_bytes(sketch())
    where = ["--gallery", str(built.gallery), "--checkpoint", str(built.checkpoint)]
    assert ended(["gallery", "index", *where, "--recall", "hash", "--hash-bits", "16", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["photos"] == PHOTOS
    assert made["recall"].startswith("hash of 16 bits")
    assert ended(["gallery", "index", *where, "--recall", "hash", "--hash-bits", "16"]) == 0
    assert "was there already" in capsys.readouterr().out
    assert ended(["gallery", "index", *where, "--recall", "hsah"]) == 1
    assert f"--recall is one of {', '.join(get_args(Choice))}, not" in capsys.readouterr().err
    assert ended(["search", str(tmp_path / "sketch.png"), *where, "--recall", "hash", "--top-k", "5", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 5
    assert ended(["explain", str(tmp_path / "sketch.png"), *where]) == 0
    said = capsys.readouterr().out
    assert ("without matching them" in said) == (built.name == "crossatnet-tiny")


def test_it_is_evaluated(built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        for kind in ("sketch", "photo"):
            place = tmp_path / kind / ("ant" if number % 2 else "bee")
            place.mkdir(parents=True, exist_ok=True)
            image = Image.open(io.BytesIO(sketch(number))) if kind == "sketch" else picture(number)
            image.save(place / f"{number}.png")
    arguments = ["--sketches", str(tmp_path / "sketch"), "--photos", str(tmp_path / "photo"), "--json"]
    assert ended(["evaluate", *arguments, "--checkpoint", str(built.checkpoint), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["arms"]) >= {"recall", "relation", "two_stage", "fused"}
