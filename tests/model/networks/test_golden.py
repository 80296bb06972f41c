import json

import pytest
import torch

from tests.golden.network import FILE, golden_network, golden_values
from tests.model import naive
from tests.model.tiny_networks import golden_images


@pytest.fixture(scope="module")
def network():
    return golden_network()


def test_a_small_network_of_the_upstream_kind_computes_its_golden_values(network):
    golden = json.loads(FILE.read_text())
    computed = golden_values(network)
    assert computed.keys() == golden.keys()
    for name, values in golden.items():
        worst = float((torch.tensor(computed[name]) - torch.tensor(values)).abs().max())
        assert worst < 1e-4 * float(torch.tensor(values).abs().max()), name
    assert float(torch.tensor(golden["relation_logit"]).std()) > 0.01


def test_the_golden_scores_follow_from_the_golden_tokens_by_the_plain_loop(network):
    """So a wrong golden file cannot be recorded: the relation is computed a second way, pair by pair."""
    golden = torch.tensor(json.loads(FILE.read_text())["relation_logit"], dtype=torch.float64)
    with torch.inference_mode():
        sketches = network.encode_sketch(golden_images("sketch", 2, 64)).tokens
        photos = network.encode_photo(golden_images("photo", 3, 64)).tokens
    for s in range(2):
        for p in range(3):
            a, b, _, _ = naive.cross_attention(network.cross_attention, sketches[s], photos[p])
            logit, _ = naive.upstream_relation(network.relation, a, b)
            torch.testing.assert_close(logit, golden[s, p], rtol=1e-4, atol=1e-5)
