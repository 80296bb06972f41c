"""Slow, plain versions of what `model` computes: one pair, one head, one patch at a time, in float64."""

import math

import torch
from torch import Tensor, nn

from model.layers.cross_attention import AttendingLayer, CrossAttention, UpstreamNorm
from model.layers.relation import PooledRelation, UpstreamRelation


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """W x + b for one vector."""
    assert layer.bias is not None
    return layer.weight.double() @ x + layer.bias.double()


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Upstream's norm with the unbiased standard deviation, or LayerNorm, of one vector."""
    if isinstance(norm, UpstreamNorm):
        return norm.a.double() * (x - x.mean()) / (x.std(unbiased=True) + 1e-6) + norm.b.double()
    assert isinstance(norm, nn.LayerNorm)
    scaled = (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + norm.eps)
    return norm.weight.double() * scaled + norm.bias.double()


def attending_side(
    layer: AttendingLayer, heads: int, own: Tensor, keys: list[Tensor], values: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Tokens [N, D] after the layer and attention [heads, N, M], given keys and values as M vectors."""
    rows, attention = [], torch.zeros(heads, len(own), len(keys), dtype=torch.float64)
    size = own.shape[1] // heads
    for n, token in enumerate(own):
        query = linear(layer.query, token)
        attended = torch.zeros_like(token)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = [float(query[part] @ key[part]) / math.sqrt(size) for key in keys]
            weights = torch.tensor(logits, dtype=torch.float64).softmax(0)
            attention[head, n] = weights
            for weight, value in zip(weights, values, strict=True):
                attended[part] += weight * value[part]
        x = normalise(layer.norm_attention, token + linear(layer.output, attended))
        hidden = linear(layer.expand, x).clamp(min=0)
        rows.append(normalise(layer.norm_feed_forward, x + linear(layer.contract, hidden)))
    return torch.stack(rows), attention


@torch.no_grad()
def cross_attention(module: CrossAttention, sketch: Tensor, photo: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens [N, D] of one pair -> both sides' tokens and both attentions [heads, N, M]."""
    sketch, photo = sketch.double(), photo.double()
    own = module.values == "own"
    out = []
    for layer, mine, other in ((module.sketch, sketch, photo), (module.photo, photo, sketch)):
        keys = [linear(layer.key, token) for token in other]
        values = [linear(layer.value, token) for token in (mine if own else other)]
        out.append(attending_side(layer, module.heads, mine, keys, values))
    return out[0][0], out[1][0], out[0][1], out[1][1]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two vectors; 0 where one of them is zero (upstream replaces NaN by 0)."""
    scale = a.norm() * b.norm()
    return a @ b / scale if scale > 0 else torch.zeros((), dtype=torch.float64)


def mlp(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Linear layers with ReLU between them."""
    for layer in layers:
        x = linear(layer, x) if isinstance(layer, nn.Linear) else x.clamp(min=0)
    return x.squeeze(0)


def upstream_kernel_tokens(module: UpstreamRelation, patches: Tensor) -> list[Tensor]:
    """The tokens of the kernel from [grid * grid, D] patches: memory read as [D, grid, grid], then 2 x 2 windows."""
    assert module.reduce.bias is not None
    flat = patches.double().reshape(-1)
    grid, width = module.grid, patches.shape[1]
    weight, bias = module.reduce.weight.double(), module.reduce.bias.double()
    cells = []
    for row in range(0, grid, 2):
        for column in range(0, grid, 2):
            window = torch.zeros(width, 2, 2, dtype=torch.float64)
            for channel in range(width):
                for y in range(2):
                    for x in range(2):
                        window[channel, y, x] = flat[(channel * grid + row + y) * grid + column + x]
            cells.append((weight * window).sum(dim=(1, 2, 3)) + bias)
    return cells


@torch.no_grad()
def upstream_relation(module: UpstreamRelation, sketch: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-attended tokens [1 + patches, D] of one pair -> logit and kernel."""
    sketch_cells = upstream_kernel_tokens(module, sketch[1:])
    photo_cells = upstream_kernel_tokens(module, photo[1:])
    kernel = torch.stack([torch.stack([cosine(a, b) for b in photo_cells]) for a in sketch_cells])
    return mlp(module.mlp, kernel.flatten()), kernel


@torch.no_grad()
def pooled_relation(module: PooledRelation, sketch: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-attended tokens [1 + patches, D] of one pair -> logit and kernel."""
    sketch, photo = sketch.double(), photo.double()
    a = [linear(module.project, token) for token in sketch[1:]]
    b = [linear(module.project, token) for token in photo[1:]]
    kernel = torch.stack([torch.stack([cosine(x, y) for y in b]) for x in a])
    centres = [-0.5 + 1.5 * i / (len(module.centres) - 1) for i in range(len(module.centres))]
    sigma = 1.5 / (len(centres) - 1)
    features = []
    for side, layer, tokens in ((kernel, module.weight_sketch, sketch), (kernel.T, module.weight_photo, photo)):
        importance = torch.stack([linear(layer, token)[0] for token in tokens[1:]]).softmax(0)
        for centre in centres:
            counts = [torch.stack([gaussian(k - centre, sigma) for k in row]).mean() for row in side]
            features.append(sum(w * torch.log(c + 1e-3) for w, c in zip(importance, counts, strict=True)))
    whole = cosine(linear(module.project_retrieval, sketch[0]), linear(module.project_retrieval, photo[0]))
    features.append(4 * whole)
    return mlp(module.mlp, torch.stack([torch.as_tensor(f) for f in features])), kernel


def gaussian(distance: Tensor, sigma: float) -> Tensor:
    """An unnormalised Gaussian."""
    return torch.exp(-(distance**2) / (2 * sigma**2))
