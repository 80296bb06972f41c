"""Prints the golden values of a small network: `python -m tests.golden.network > tests/golden/network.json`.

Weights and inputs are made from names alone, so the values depend on nothing but what the network computes. They were
recorded when the full-size network agreed with what the published code computes, to 1e-5.
"""

import json
from pathlib import Path
from typing import Any

import torch

from model.networks.registry import build_network
from model.networks.zse_sbir import ZseNetwork
from tests.model.tiny_networks import UPSTREAM_TINY, golden_images, set_golden_weights

FILE = Path(__file__).with_name("network.json")


def golden_network() -> ZseNetwork:
    """The small network with its golden weights, in float32 on the CPU."""
    network = build_network(UPSTREAM_TINY, seed=0)
    assert isinstance(network, ZseNetwork)
    set_golden_weights(network)
    return network


@torch.inference_mode()
def golden_values(network: ZseNetwork) -> dict[str, Any]:
    """Encodings and relations of 2 sketches and 3 photos."""
    sketches = network.encode_sketch(golden_images("sketch", 2, 64))
    photos = network.encode_photo(golden_images("photo", 3, 64))
    relation = network.relate(sketches, photos, attention=True)
    assert relation.attention is not None
    return {
        "sketch_retrieval_token": sketches.retrieval_token[:, :8].tolist(),
        "photo_descriptor": photos.descriptor[:, :8].tolist(),
        "photo_token_10": photos.tokens[:, 10, :8].tolist(),
        "sketch_to_photo_0": relation.attention.sketch_to_photo[:, :, 0, :6].tolist(),
        "photo_to_sketch_7": relation.attention.photo_to_sketch[:, :, 7, :6].tolist(),
        "relation_logit": relation.logit.tolist(),
    }


if __name__ == "__main__":
    print(json.dumps(golden_values(golden_network()), indent=1))  # noqa: T201 (this is its purpose)
