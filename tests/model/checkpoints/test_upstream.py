import importlib.util
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from model import convert_upstream, load_checkpoint
from model.checkpoints.upstream import translate_key
from model.errors import CheckpointError, CheckpointNotFoundError
from model.networks.zse_sbir import ZseNetwork
from tests.paths import ROOT

PARITY = ROOT.parent / "shared" / "parity"
TOLERANCE = 1e-4  # relative, in float32


@pytest.fixture(scope="module")
def recipe():
    """How the published code's parameters and inputs were made."""
    path = PARITY / "recipe.py"
    if not path.is_file():
        pytest.skip("needs ../shared/parity beside the repository: what the published code computes")
    spec = importlib.util.spec_from_file_location("parity_recipe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def upstream(recipe):  # noqa: ARG001 (skips where there is none)
    """What the published code computes."""
    return json.loads((PARITY / "upstream-outputs.json").read_text())


@pytest.fixture(scope="module")
def state(recipe, upstream):
    """A published state dict with the recipe's parameters."""
    return {
        key: torch.from_numpy(recipe.parameter(key, tuple(shape), upstream["seed"]))
        for key, shape in upstream["shapes"].items()
    }


@pytest.fixture(scope="module")
def conversion(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upstream")
    # The figures beside the weights may be NumPy numbers.
    torch.save({"model": state, "epoch": 3, "map_all": np.float64(0.5), "precision_100": 0.6}, folder / "published.pth")
    return convert_upstream(folder / "published.pth", folder / "converted.safetensors")


def relative(ours, theirs):
    theirs = torch.tensor(theirs)
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.timeout(600)  # 102 million values: seconds on a quiet machine
def test_outputs_equal_the_published_codes(conversion, recipe, upstream):
    network = load_checkpoint(conversion.path, device="cpu", dtype="float32")
    assert isinstance(network, ZseNetwork)
    seed = upstream["seed"]
    with torch.inference_mode():
        sketches = network.encode_sketch(torch.from_numpy(recipe.images("sketch", 3, seed)))
        photos = network.encode_photo(torch.from_numpy(recipe.images("photo", 4, seed)))
        relation = network.relate(sketches, photos)
        assert relative(sketches.retrieval_token[:, :16], upstream["sketch_retrieval_token"]) < TOLERANCE
        assert relative(photos.retrieval_token[:, :16], upstream["photo_retrieval_token"]) < TOLERANCE
        assert relative(sketches.tokens[:, 100, :16], upstream["sketch_visual_token_0_100"]) < TOLERANCE
        assert relation.logit.shape == (3, 4)
        assert relative(relation.logit, upstream["relation_logit"]) < TOLERANCE
        worst = (relation.logit / torch.tensor(upstream["relation_logit"]) - 1).abs().max()
        assert float(worst) < TOLERANCE, "each of the 12 pairs, not only their norm"
        assert relative(relation.score, upstream["relation_score"]) < TOLERANCE
        corners, sketch_tokens, photo_tokens = [], [], []
        photo_side = network.cross_attention.project(photos.tokens, None, "photo")
        for row in range(3):
            side = network.cross_attention.project(sketches.tokens[row : row + 1], None, "sketch")
            a, b, _, _ = network.cross_attention(side, photo_side)
            corners.append(network.relation(a, b, None, None)[1][:, :3, :3])
            sketch_tokens.append(a[:, 0, :8])
            photo_tokens.append(b[:, 0, :8])
        assert relative(torch.stack(corners), upstream["kernel_corner"]) < TOLERANCE
        assert relative(torch.stack(sketch_tokens), upstream["cross_attended_sketch_token"]) < TOLERANCE
        assert relative(torch.stack(photo_tokens), upstream["cross_attended_photo_token"]) < TOLERANCE


def test_every_entry_is_used_or_named(conversion, state):
    assert len(conversion.unused) == 16
    assert all(key.startswith("ca.encoder.layers.") for key in conversion.unused)
    with safe_open(conversion.path, framework="pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    translated = [translate_key(key) for key in state if key not in conversion.unused]
    assert None not in translated
    assert len(set(translated)) == len(translated), "no two entries share a name"
    assert set(translated) == names
    assert metadata["preset"] == "zse-vit-b16"
    assert metadata["sha256"] == conversion.sha256
    assert json.loads(metadata["config"])["relation"]["kind"] == "upstream"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("rn.rn.6.bias"), r"1 missing \(relation.mlp.4.bias\)"),
        (lambda s: s.update({"rn.rn.6.bias": torch.zeros(2)}), r"1 misshapen \(relation.mlp.4.bias\)"),
        (
            lambda s: s.update({"surprise.weight": torch.zeros(2)}),
            r"no published ZSE-SBIR checkpoint has: surprise.weight",
        ),
        (lambda s: s.clear(), r"192 missing|19\d missing"),
    ],
)
def test_other_entries_are_refused_and_nothing_is_written(state, tmp_path, change, says):
    changed = dict(state)
    change(changed)
    torch.save({"model": changed}, tmp_path / "changed.pth")
    with pytest.raises(CheckpointError, match=says):
        convert_upstream(tmp_path / "changed.pth", tmp_path / "out.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["changed.pth"]


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def zipped(content, path):
    torch.save(content, path)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare(content, path):
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.mark.parametrize("write", [zipped, legacy, bare])
@pytest.mark.parametrize("place", ["instead", "beside"])
def test_code_in_a_pickle_is_never_executed(tmp_path, write, place):
    proof, path = tmp_path / "executed", tmp_path / "trap.pth"
    write(Trap(proof) if place == "instead" else {"model": {"w": torch.zeros(1)}, "epoch": Trap(proof)}, path)
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        convert_upstream(path, tmp_path / "out.safetensors")
    assert not proof.exists()
    assert not (tmp_path / "out.safetensors").exists()
    if write is bare:
        pickle.loads(path.read_bytes())  # noqa: S301 (the trap does work)
        assert proof.exists()


@pytest.mark.parametrize(
    "content", [{}, {"model": 3}, {"model": {"w": "text"}}, {"model": {1: torch.zeros(1)}}, [1, 2], torch.zeros(3)]
)
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no entry 'model'"):
        convert_upstream(tmp_path / "other.pth", tmp_path / "out.safetensors")


def test_files_that_are_not_there_are_named(tmp_path):
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(CheckpointNotFoundError, match="no file"):
            convert_upstream(path, tmp_path / "out.safetensors")


def test_damaged_files_give_one_typed_error(tmp_path):
    """Truncated anywhere or with bytes changed, zipped or not: never another kind of exception."""
    random = np.random.default_rng(0)
    refused = 0
    for write in (zipped, legacy):
        path = tmp_path / "published.pth"
        write({"model": {"w": torch.arange(6.0)}, "epoch": 1}, path)
        whole = path.read_bytes()
        damaged = [whole[: int(share * len(whole))] for share in (0, 0.01, 0.3, 0.7, 0.99)]
        for _ in range(60):
            content = bytearray(whole)
            for position in random.integers(0, len(whole), 4):
                content[position] = int(random.integers(256))
            damaged.append(bytes(content))
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(CheckpointError):  # what is still readable lacks the network's entries
                convert_upstream(path, tmp_path / "out.safetensors")
            refused += 1
    assert refused == 130
    assert not (tmp_path / "out.safetensors").exists()
