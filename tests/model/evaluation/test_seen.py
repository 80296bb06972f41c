"""What a checkpoint says of the categories it was trained on."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.data.items import Item
from model.evaluation.seen import learnt_from, seen_before, trained_categories


@pytest.fixture
def checkpoint(tmp_path):
    def write(**metadata):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_file({"weight": torch.zeros(1)}, path, metadata=metadata or None)
        return path

    return write


def test_what_a_checkpoint_does_not_say_is_not_known(checkpoint):
    assert trained_categories(checkpoint(training=json.dumps({"categories": ["ant", "teddy-bear"]}))) == (
        "ant",
        "teddy-bear",
    )
    for said in (
        {},
        {"training": "{}"},
        {"training": "no JSON"},
        {"training": "[]"},
        {"training": '{"categories": 3}'},
    ):
        assert trained_categories(checkpoint(**said)) is None


def test_a_checkpoints_categories_are_those_of_its_beginning_too(checkpoint):
    assert learnt_from(None, ("cow", "Ant", "ant")) == ["Ant", "cow"]
    assert learnt_from(checkpoint(training=json.dumps({"categories": ["bee", "ant"]})), ("cow",)) == [
        "ant",
        "bee",
        "cow",
    ]
    assert learnt_from(checkpoint(), ("cow",)) is None


def test_categories_compare_under_any_spelling():
    sketches = [Item(Path("x.png"), name, "sketch") for name in ("Teddy bear", "ant", "Teddy bear")]
    assert seen_before(sketches, ("teddy-bear", "cow")) == ["Teddy bear"]
    assert seen_before(sketches, ()) == []
