"""Parameters, multiply-adds and bytes of every preset, counted without running them: a table of docs/checkpoints.md.

python benchmarks/sizes.py
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from index_builder.store.quantise import TokenShape
from model.layers.matching import MatchingRelation
from model.networks.registry import build_network, preset
from model.networks.zse_sbir import ZseNetwork
from model.types import Encoding

PRESETS = ("zse-vit-b16", "zse-lite0", "zse-lite")


def blank_encoding(network: ZseNetwork, count: int) -> Encoding:
    """Encodings of the network's shapes without values."""
    tokens = torch.empty(count, network.photo_tokens, network.token_width, device="meta")
    descriptor = torch.empty(count, network.descriptor_size, device="meta")
    return Encoding(descriptor, tokens, torch.empty(count, network.photo_tokens - 1, dtype=torch.int64, device="meta"))


class Count(FlopCounterMode):
    """Counts multiply-adds of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__(display=False)

    @property
    def billions(self) -> float:
        """Multiply-adds so far, in billions."""
        return float(self.get_total_flops()) / 2e9  # torch counts a multiplication and an addition as two


@torch.no_grad()
def row(name: str) -> list[str]:
    """One line of the table."""
    with torch.device("meta"):
        network = build_network(preset(name))
    assert isinstance(network, ZseNetwork)
    size = network.preprocess.image_size
    with Count() as encode:
        network.encode_photo(torch.empty(1, 3, size, size, device="meta"))
    with Count() as one:
        network.relate(blank_encoding(network, 1), blank_encoding(network, 1))
    with Count() as two:
        network.relate(blank_encoding(network, 1), blank_encoding(network, 2))
    with Count() as projection:
        if isinstance(network.relation, MatchingRelation):
            network.relation.side(blank_encoding(network, 1), "photo")
        else:
            network.cross_attention.project(blank_encoding(network, 1).tokens, None, "photo")
    pair = two.billions - one.billions
    stored = TokenShape.of(network)
    return [
        f"`{name}`",
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}",
        f"{size}",
        f"{encode.billions:.2f}",
        f"{one.billions:.3f}",
        f"{pair:.3f}",
        f"{pair - projection.billions:.3f}",
        f"{network.photo_tokens} x {network.token_width}",
        f"{2 * network.photo_tokens * network.token_width:,}".replace(",", " "),
        f"{stored.record_bytes:,}".replace(",", " "),
        f"{network.descriptor_size}",
    ]


HEADER = [
    "preset",
    "parameters, M",
    "image side, px",
    "GMAC per image",
    "GMAC per pair, all of it",
    "in a search",
    "photo's projections kept",
    "tokens per photo",
    "bytes in float16",
    "bytes as stored",
    "descriptor",
]


def table() -> str:
    """The table in Markdown."""
    rows = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *[row(name) for name in PRESETS]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


if __name__ == "__main__":
    print(table())
