import json
import os
import pickle
import socket
import struct
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.checkpoints.files import (
    content_hashes,
    fastest_on_gpu,
    load_checkpoint,
    resolve_device,
    resolve_dtype,
    save_checkpoint,
    with_config,
)
from model.config import PreprocessConfig
from model.errors import CheckpointError, CheckpointNotFoundError, ConfigurationError, DeviceError, SketchseekError
from model.presets import ZSE_TINY
from model.score_rules import ScoreRule
from tests.model.tiny_networks import UPSTREAM_TINY, VIT_POOLED, build, images


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(build(ZSE_TINY, seed=1), path)
    return path


def rewrite(path, change_tensors=None, change_metadata=None, *, seal=True):
    """The same file with other content; `seal` gives it the checksum that belongs to the content."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    if change_tensors is not None:
        change_tensors(tensors)
    if change_metadata is not None:
        change_metadata(metadata)
    if seal:
        metadata |= content_hashes(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize("config", [ZSE_TINY, UPSTREAM_TINY, VIT_POOLED], ids=lambda c: c.preset)
def test_what_is_saved_comes_back(tmp_path, config):
    network = build(config, seed=1)
    with_config(network, score=ScoreRule(0.5, 3.0, -1.0))
    sha256 = save_checkpoint(network, tmp_path / "network.safetensors", extra={"source": "test"})
    loaded = load_checkpoint(tmp_path / "network.safetensors", "cpu", "float32", trainable=True)
    assert loaded.config == network.config
    assert loaded.identity.sha256 == sha256
    assert loaded.identity.name == config.preset
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    with safe_open(tmp_path / "network.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["source"] == "test"
    assert metadata["preset"] == config.preset
    assert metadata["sha256"] == sha256


def test_a_network_loaded_for_use_gives_the_same_and_cannot_be_saved(saved, tmp_path):
    whole, folded = (load_checkpoint(saved, "cpu", "float32", trainable=t) for t in (True, False))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in whole.modules())
    with torch.inference_mode():
        a, b = whole.encode_photo(images(2)), folded.encode_photo(images(2))
    torch.testing.assert_close(a.tokens, b.tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(a.descriptor, b.descriptor, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigurationError, match="trainable=True"):
        save_checkpoint(folded, tmp_path / "again.safetensors")
    save_checkpoint(whole, tmp_path / "again.safetensors")


def test_weights_stored_in_half_are_read_as_float32(tmp_path):
    network = build(ZSE_TINY, seed=1)
    save_checkpoint(network, tmp_path / "half.safetensors", torch.float16)
    loaded = load_checkpoint(tmp_path / "half.safetensors", "cpu", "float32", trainable=True)
    assert {v.dtype for v in loaded.parameters()} == {torch.float32}
    name = "relation.mlp.0.weight"
    torch.testing.assert_close(loaded.state_dict()[name], network.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_saving_over_a_file_leaves_the_old_one_when_it_fails(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("model.checkpoints.files.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(build(ZSE_TINY, seed=2), saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_saved_file_may_be_read_by_whom_the_umask_lets(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_checkpoint(build(ZSE_TINY, seed=1), tmp_path / "new.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "new.safetensors").stat().st_mode & 0o777 == mode


def test_unknown_names_are_told_what_exists(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint 'nothing'"):
        load_checkpoint("nothing")
    with pytest.raises(CheckpointNotFoundError):
        load_checkpoint(tmp_path / "missing.safetensors")


def test_a_directory_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="give a file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99, 0.9999])
def test_truncated_files_are_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        load_checkpoint(saved)


@pytest.mark.parametrize("claim", [2**63, 2**40, 10**7])
def test_absurd_headers_are_refused_at_once(saved, claim):
    content = saved.read_bytes()
    saved.write_bytes(struct.pack("<Q", claim) + content[8:])
    start = time.monotonic()
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)
    assert time.monotonic() - start < 5


def test_tensors_that_point_outside_the_file_are_refused(tmp_path):
    header = {"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    text = json.dumps(header).encode()
    path = tmp_path / "absurd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 64)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_one_altered_byte_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[-1000] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its own checksum"):
        load_checkpoint(saved)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path):
    proof = tmp_path / "executed"
    for name, write in (("plain.pth", lambda p: p.write_bytes(pickle.dumps({"model": Trap(proof)}))),
                        ("zip.pth", lambda p: torch.save({"model": Trap(proof)}, p))):  # fmt: skip
        write(tmp_path / name)
        with pytest.raises(CheckpointError, match="sketchseek convert"):
            load_checkpoint(tmp_path / name)
        assert not proof.exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())  # noqa: S301 (the trap does work)
    assert proof.exists()


def test_somebody_elses_safetensors_is_refused(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no Sketchseek checkpoint"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_a_missing_entry_is_named(saved):
    rewrite(saved, lambda t: t.pop("relation.mlp.0.bias"))
    with pytest.raises(CheckpointError, match=r"1 missing \(relation.mlp.0.bias\)"):
        load_checkpoint(saved)


def test_an_extra_entry_is_named(saved):
    rewrite(saved, lambda t: t.update(surprise=torch.zeros(2)))
    with pytest.raises(CheckpointError, match=r"1 unknown \(surprise\)"):
        load_checkpoint(saved)


def test_a_misshapen_entry_is_named(saved):
    rewrite(saved, lambda t: t.update({"relation.mlp.0.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"1 misshapen \(relation.mlp.0.bias\)"):
        load_checkpoint(saved)


def test_weights_of_another_preset_are_refused(saved, tmp_path):
    save_checkpoint(build(VIT_POOLED), tmp_path / "other.safetensors")
    with safe_open(tmp_path / "other.safetensors", framework="pt") as file:
        config = file.metadata()["config"]
    rewrite(saved, change_metadata=lambda m: m.update(config=config))
    with pytest.raises(CheckpointError, match="does not fit the network 'vit-pooled'"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(architecture="unheard-of"),
        lambda m: m.pop("architecture"),
        lambda m: m.pop("config"),
        lambda m: m.update(config="no json"),
        lambda m: m.update(config="[]"),
        lambda m: m.update(config="{}"),
        lambda m: m.update(config=json.dumps({**json.loads(m["config"]), "surprise": 1})),
        lambda m: m.update(config=m["config"].replace("test_efficientnet", "no_such_backbone")),
        lambda m: m.update(config=m["config"].replace('"heads": 4', '"heads": "four"')),
    ],
)
def test_metadata_of_another_version_are_refused(saved, change):
    rewrite(saved, change_metadata=change)
    with pytest.raises(SketchseekError) as caught:
        load_checkpoint(saved)
    assert isinstance(caught.value, CheckpointError)


def test_a_changed_preprocessing_has_another_identity():
    assert PreprocessConfig(image_size=192).identity != PreprocessConfig().identity
    assert PreprocessConfig().identity == PreprocessConfig(image_size=224).identity


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_devices_that_are_not_here_are_refused():
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="not available here"):
        resolve_device("cuda")
    with pytest.raises(DeviceError, match="not available here"):
        resolve_device("cuda:7")


@pytest.mark.parametrize("name", ["toaster", "cpu:x", ""])
def test_devices_that_do_not_exist_are_refused(name):
    with pytest.raises(DeviceError, match="no device"):
        resolve_device(name)


def test_arithmetic_follows_the_hardware():
    cpu = torch.device("cpu")
    assert resolve_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    assert resolve_dtype("float16", cpu) == torch.float16
    with pytest.raises(DeviceError, match="no arithmetic"):
        resolve_dtype("int4", cpu)
    assert fastest_on_gpu((9, 0)) == fastest_on_gpu((8, 0)) == torch.bfloat16
    assert fastest_on_gpu((7, 5)) == torch.float16
    assert fastest_on_gpu((6, 1)) == torch.float32


def test_loading_needs_no_network(saved, monkeypatch):
    def refuse(*_arguments, **_named):
        pytest.fail("loading a checkpoint asked for a connection")

    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    assert load_checkpoint(saved, "cpu").identity.name == "zse-tiny"
