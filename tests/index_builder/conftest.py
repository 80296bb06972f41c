"""A tiny network with random weights, and small photos that differ from each other."""

from __future__ import annotations

import pytest
import torch

from index_builder import BuildOptions
from model.networks.network import CheckpointIdentity, Network
from model.networks.registry import build_network, preset
from tests.index_builder.pictures import write_photo


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_network(seed: int = 0) -> Network:
    network = build_network(preset("zse-tiny"), seed=seed)
    network.identity = CheckpointIdentity("zse-tiny", f"{seed:064x}")
    return network


@pytest.fixture(scope="session")
def network():
    return tiny_network(0)


@pytest.fixture(scope="session")
def other_network():
    return tiny_network(1)


@pytest.fixture
def options():
    """Small commits, so that a few photos make several versions."""
    return BuildOptions(batch_size=4, commit_photos=4, workers=1)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for index in range(10):
        write_photo(root / ("cat" if index % 2 else "dog") / f"{index}.jpg", seed=index)
    return root
