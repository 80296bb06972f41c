"""What storing tokens in fewer bytes costs: bytes per photo beside the quality of two stages.

    python benchmarks/tokens.py --data DIR --categories FILE [--checkpoint zse-lite]

DIR holds sketch/CATEGORY/* and photo/CATEGORY/*. Every sketch's candidates, the same for every row, are related with
their tokens in float32 and again with what comes back from each way to store them; sketches are never stored. Bytes
include descriptor, scales and patch positions. Quality is mAP@200 (strict) with the candidates ordered by the relation
alone, which feels a change most, and by the checkpoint's score rule; "top 10" is the share of the float32 relation's
first ten that is found again, "noise" the change of logits in their standard deviations.

Codebooks and principal components are fitted on the photos of the table, as a gallery could do for itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from measure import Table, header, parser
from shared_options import add_dataset, add_network

# isort: split
import torch
from candidates import Lab, reordered
from torch import Tensor
from torch.nn import functional as F

from index_builder.store.quantise import TokenShape, dequantise, quantise
from model.checkpoints.files import load_checkpoint
from model.ranking.score import mixture
from model.types import Encoding

UPSTREAM_BYTES = 2 * 197 * 768  # zse-vit-b16 in float16
CENTROIDS = 1024


@dataclass(frozen=True)
class Stored:
    """One way to store tokens: its name, the bytes of a photo, and the encodings that come back."""

    name: str
    bytes_per_photo: int
    photos: Encoding


def rounded(tokens: Tensor, levels: int) -> Tensor:
    """Symmetric rounding to `levels` steps each side, one scale per last axis."""
    scale = (tokens.abs().amax(dim=-1, keepdim=True) / levels).clamp_min(1e-30)
    return torch.round(tokens / scale).clamp(-levels, levels) * scale


def as_gallery(photos: Encoding, shape: TokenShape) -> Encoding:
    """Through the gallery's own code."""
    stored = quantise(photos, shape)
    return dequantise(torch.from_numpy(stored.descriptor), torch.from_numpy(stored.records), shape)


def centroids(tokens: Tensor, count: int, rounds: int = 6) -> Tensor:
    """[count, D] by k-means over a seeded sample of tokens [n, D]."""
    generator = torch.Generator().manual_seed(0)
    sample = tokens[torch.randperm(len(tokens), generator=generator)[: 20 * count]]
    found = sample[:count].clone()
    for _ in range(rounds):
        nearest = closest(sample, found)
        sums = torch.zeros_like(found).index_add_(0, nearest, sample)
        found = sums / torch.bincount(nearest, minlength=count).clamp_min(1)[:, None]
    return found


def closest(tokens: Tensor, among: Tensor) -> Tensor:
    """[n] index of the closest of [count, D]."""
    half = among.square().sum(1) / 2
    return torch.cat([(part @ among.T - half).argmax(dim=1) for part in tokens.split(8192)])  # type: ignore[no-untyped-call]


def bucketed(values: Tensor, bits: int) -> Tensor:
    """Values [n, D] -> the mean of their quantile bucket, 2^bits buckets for all dimensions, each scaled to one."""
    scale = values.std(dim=0)
    scaled = values / scale
    sample = scaled.flatten()[:: max(1, scaled.numel() // 200_000)].sort().values
    parts = sample.tensor_split(2**bits)
    means = torch.stack([part.mean() for part in parts])
    edges = torch.stack([part[0] for part in parts[1:]])
    return means[torch.bucketize(scaled, edges)] * scale


def components(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean [D] and the first principal directions [D, count] of tokens [n, D]."""
    mean = tokens.mean(dim=0)
    centred = tokens - mean
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    return mean, directions[:, :count]


def kept(photos: Encoding, count: int) -> Encoding:
    """The retrieval token and the `count` patch tokens most like it."""
    unit = F.normalize(photos.tokens.float(), dim=-1)
    rows = (unit[:, 1:] * unit[:, :1]).sum(-1).topk(count, dim=1).indices.sort(dim=1).values
    patches = photos.tokens[:, 1:].gather(1, rows[..., None].expand(-1, -1, photos.tokens.shape[2]))
    tokens = torch.cat([photos.tokens[:, :1], patches], dim=1)
    return replace(photos, tokens=tokens, positions=photos.positions.gather(1, rows))


def merged(photos: Encoding, count: int) -> Encoding:
    """Patch tokens merged two by two, the most alike first, until `count` are left."""
    joined = []
    for tokens in photos.tokens.float():
        left, weight = tokens[1:].clone(), torch.ones(len(tokens) - 1)
        while len(left) > count:
            unit = F.normalize(left, dim=-1)
            alike = (unit @ unit.T).fill_diagonal_(-torch.inf)
            first, second = sorted(divmod(int(alike.argmax()), len(left)))
            both = weight[first] + weight[second]
            left[first] = (left[first] * weight[first] + left[second] * weight[second]) / both
            weight[first] = both
            stay = torch.arange(len(left)) != second
            left, weight = left[stay], weight[stay]
        joined.append(torch.cat([tokens[:1], left]))
    return replace(photos, tokens=torch.stack(joined), positions=photos.positions[:, :count])


def ways(photos: Encoding, shape: TokenShape) -> Iterator[Stored]:
    """Every way that is measured."""
    tokens = photos.tokens.float()
    count, width = shape.tokens, shape.width
    fixed = shape.descriptor * 4
    places = 2 * (count - 1)
    flat = tokens.flatten(0, 1)

    def made(name: str, token_bytes: float, values: Tensor) -> Stored:
        size = round(fixed + places + count * token_bytes)
        return Stored(name, size, replace(photos, tokens=values.view_as(tokens)))

    yield made("float32", 4 * width, tokens)
    yield made("float16", 2 * width, tokens.half().float())
    for bits in (8, 4):
        one = replace(shape, bits=bits)
        mark = " (stored)" if bits == shape.bits else ""
        yield Stored(f"int{bits}, scale per token{mark}", one.bytes_per_photo, as_gallery(photos, one))
    groups = rounded(tokens.view(len(tokens), count, -1, 32), 7)
    yield made("int4, scale per 32 values", width / 2 + width / 16, groups)
    yield made("int2 (-1, 0, 1), scale per token", width / 4 + 4, rounded(tokens, 1))
    centres = centroids(flat, CENTROIDS)
    near = centres[closest(flat, centres)]
    for bits in (4, 2, 1):
        name = f"residuals of {CENTROIDS} centroids, {bits} bit{'s' * (bits > 1)}"
        yield made(name, 2 + bits * width / 8, near + bucketed(flat - near, bits))
    for narrow in (width // 2, width // 4):
        mean, directions = components(flat, narrow)
        inner = rounded((flat - mean) @ directions, 127)
        yield made(f"{narrow} principal components, int8", narrow + 4, inner @ directions.T + mean)
    fewer: dict[str, Callable[[Encoding, int], Encoding]] = {
        "patches kept, those most like the retrieval token:": kept,
        "patches left after merging the most alike:": merged,
    }
    for name, reduce in fewer.items():
        for some in ((count - 1) * 3 // 4, (count - 1) // 2, (count - 1) // 4):
            small = replace(shape, tokens=some + 1, bits=8)
            yield Stored(f"{name} {some}, int8", small.bytes_per_photo, as_gallery(reduce(photos, some), small))


def logits(lab: Lab, photos: Encoding, candidates: Tensor) -> Tensor:
    """[S, K] relation logits with these photos' tokens."""
    on_device = photos.to(lab.network.device, lab.network.dtype)
    with torch.inference_mode():
        rows = [lab.network.relate(lab.sketches[s : s + 1], on_device[c]).logit for s, c in enumerate(candidates)]
    return torch.cat(rows)


def main() -> None:
    options = parser(__doc__)
    add_network(options)
    add_dataset(options, sketches=200, required=True)
    options.add_argument("--candidates", type=int, default=100)
    arguments = options.parse_args()
    header(arguments)
    network = load_checkpoint(arguments.checkpoint, "cpu")
    lab = Lab.load(network, arguments)
    measure(lab, arguments)


def measure(lab: Lab, arguments: argparse.Namespace) -> None:
    table = Table(
        "tokens",
        f"Tokens at rest, {len(lab.sketches)} sketches, {len(lab.photos)} photos, {arguments.candidates} related",
        {
            "way": "tokens as",
            "bytes": "bytes per photo",
            "share": "of float16 x 197 x 768",
            "relation": "relation: mAP@200",
            "relation_moved": "moved, %",
            "score": "score rule: mAP@200",
            "score_moved": "moved, % ",
            "top_10": "top 10",
            "noise": "noise",
        },
    )
    queries = lab.queries
    order = lab.order(queries)
    candidates = order[:, : arguments.candidates]
    cosines = (queries @ lab.photos.descriptor.T).gather(1, candidates)
    rule = lab.network.config.score
    exact: Tensor | None = None
    first: tuple[float, float] | None = None
    for stored in ways(lab.photos, TokenShape.of(lab.network)):
        found = logits(lab, stored.photos, candidates)
        exact = found if exact is None else exact
        scores = mixture(rule, found, cosines)
        quality = tuple(lab.quality(reordered(candidates, some, order))[0] for some in (found, scores))
        first = (quality[0], quality[1]) if first is None else first
        best, other = (some.topk(10, dim=1).indices for some in (exact, found))
        table.add(
            way=stored.name,
            bytes=stored.bytes_per_photo,
            share=f"1/{UPSTREAM_BYTES / stored.bytes_per_photo:.0f}",
            relation=quality[0],
            relation_moved=100 * (quality[0] / first[0] - 1),
            score=quality[1],
            score_moved=100 * (quality[1] / first[1] - 1),
            top_10=float((best[:, :, None] == other[:, None]).any(2).float().mean()),
            noise=float((found - exact).square().mean().sqrt() / exact.std()),
        )
    table.finish(arguments)


if __name__ == "__main__":
    main()
