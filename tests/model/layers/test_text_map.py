"""The map of words: nothing but a ridge regression, kept with the checkpoint, and no part of what encodes."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.errors import CheckpointError
from model.layers.text_map import TextMap
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.model.checkpoints.test_files import rewrite

WORDED = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, text_width=6))


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def fitted(size: int = 16) -> TextMap:
    words = TextMap(6, size)
    words.fit(drawn(40, size, seed=1), drawn(5, 6, seed=2), torch.arange(40) % 5)
    return words


def test_it_is_the_ridge_regression_of_names_from_photos_turned_round():
    photos, names, labels = (
        drawn(40, 8, seed=1),
        drawn(5, 6, seed=2),
        torch.arange(40).clamp(max=13) % 4,
    )  # the fifth has no image
    words = TextMap(6, 8)
    words.fit(3 * photos, names, labels, penalty=0.2)
    mean = names[:4].mean(dim=0)
    target = torch.stack([(names[label] - mean) / (names[label] - mean).norm() for label in labels])
    weights = torch.zeros(8, 6, requires_grad=True)
    descent = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        descent.zero_grad()
        error = (photos @ weights - target).square().sum(dim=1)
        value = sum((error[labels == label].mean() for label in range(4)), 0.2 * weights.square().sum())
        value.backward()
        return value

    descent.step(loss)
    asked = drawn(3, 6, seed=3)
    expected = F.normalize(F.normalize(asked - mean, dim=1) @ weights.detach().T, dim=1)
    torch.testing.assert_close(words(asked), expected, rtol=0, atol=1e-3)


def test_a_word_lies_where_photos_of_it_do():
    centres, names = drawn(5, 16, seed=1), drawn(5, 6, seed=2)
    labels = torch.arange(50) % 5
    words = TextMap(6, 16)
    words.fit(F.normalize(centres[labels] + 0.1 * drawn(50, 16, seed=4), dim=1), names, labels, penalty=0.1)
    assert (words(names) @ centres.T).argmax(dim=1).tolist() == list(range(5))


def test_a_checkpoint_keeps_it_and_its_encodings_keep_their_identity(tmp_path):
    plain, worded = (build_network(config, seed=3) for config in (ZSE_TINY, WORDED))
    assert plain.text_map is None
    assert worded.text_map is not None
    worded.text_map.load_state_dict(fitted().state_dict())
    paths = [tmp_path / "plain.safetensors", tmp_path / "worded.safetensors"]
    digests = [save_checkpoint(network, path) for network, path in zip((plain, worded), paths, strict=True)]
    assert digests[0] == digests[1]
    with safe_open(paths[1], framework="pt") as file:
        assert file.metadata()["text_map_sha256"] != digests[1]
    loaded = load_checkpoint(paths[1], device="cpu", dtype="bfloat16")
    assert loaded.text_map is not None
    assert loaded.text_map.matrix.dtype == torch.float32
    asked = drawn(3, 6, seed=5)
    torch.testing.assert_close(loaded.text_map(asked), fitted()(asked))
    torch.testing.assert_close(loaded.text_map(asked).norm(dim=1), torch.ones(3))


def test_a_damaged_map_is_noticed(tmp_path):
    path = tmp_path / "worded.safetensors"
    save_checkpoint(build_network(WORDED, seed=3), path)

    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors["text_map.mean"][0] = 1.0

    rewrite(path, damage, seal=False)
    with pytest.raises(CheckpointError, match="does not match its own checksum"):
        load_checkpoint(path, device="cpu")
