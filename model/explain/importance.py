"""How much each photo patch adds to the relation logit.

Two measures. `relate_with_importance` is the cheap one: the pair is related once, and for every photo patch the
relation network's answer without that patch's column of the kernel follows in closed form from the same numbers.
`occlusion` is the slow, exact one: every photo patch is masked in turn and the pair related again, attention and all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.network import Network, ZseNetwork
from model.relation import PooledRelation, score_features
from model.types import Encoding, Relation, RelationAttention

FloatArray = NDArray[np.float32]


def relate_with_importance(network: Network, sketch: Encoding, photo: Encoding) -> tuple[Relation, FloatArray | None]:
    """Relate one sketch to one photo, with attention and with the importance of each of the photo's patch tokens.

    Args:
        network: any; importance is known where its relation reads a kernel of real patches.
        sketch: one encoding.
        photo: one encoding.

    Returns:
        The relation [1, 1] with attention, as `network.relate(sketch, photo, attention=True)` gives it, and [Np - 1]
        float32, the logit minus the logit without that patch's column of the kernel (0 for masked patches), or None.
    """
    if not isinstance(network, ZseNetwork) or not isinstance(network.relation, PooledRelation):
        return network.relate(sketch, photo, attention=True), None
    sides = [encoding.to(network.device, network.dtype) for encoding in (sketch, photo)]
    project = network.cross_attention.project
    with torch.no_grad():
        sketch_side = project(sides[0].tokens, sides[0].mask, "sketch")
        photo_side = project(sides[1].tokens, sides[1].mask, "photo")
        sketch_tokens, photo_tokens, to_photo, to_sketch = network.cross_attention(
            sketch_side, photo_side, weights=True
        )
        logit, kernel = network.relation(sketch_tokens, photo_tokens, sides[0].mask, sides[1].mask)
        without = logits_without_patches(
            network.relation,
            sketch_tokens,
            photo_tokens,
            kernel,
            sketch_mask=sides[0].mask,
            photo_mask=sides[1].mask,
        )
    if to_photo is None or to_sketch is None:
        raise AssertionError("cross-attention was asked for its weights")
    attention = RelationAttention(to_photo[None], to_sketch[None], kernel[None])
    importance = logit - without
    if sides[1].mask is not None:
        importance = importance.masked_fill(~sides[1].mask[0, 1:], 0.0)
    relation = Relation(logit[None], logit.sigmoid()[None], attention)
    return relation, importance.float().cpu().numpy()


def logits_without_patches(
    relation: PooledRelation,
    sketch: Tensor,
    photo: Tensor,
    kernel: Tensor,
    *,
    sketch_mask: Tensor | None = None,
    photo_mask: Tensor | None = None,
) -> Tensor:
    """What the pooled relation network says of a pair without each of its photo patches in turn.

    Both of its histograms are (weighted) means over patches, so leaving one out is a subtraction. The result equals
    `relation(sketch, photo, sketch_mask, mask without the patch)`; a test says so.

    Args:
        relation: the relation network.
        sketch, photo: cross-attended tokens [1, N, D] of each side.
        kernel: [1, Ns - 1, Np - 1], as `relation` returned it.
        sketch_mask, photo_mask: [1, N] bool or None.

    Returns:
        [Np - 1] float32 logits; of no meaning where `photo_mask` is False.
    """
    patches = kernel[0]
    sketch_real = _real(sketch_mask, patches.shape[0], patches)
    photo_real = _real(photo_mask, patches.shape[1], patches)
    counted = torch.exp(-relation._precision * (patches.unsqueeze(-1) - relation.centres.float()) ** 2)
    photo_count = photo_real.sum()
    over_photo = counted * photo_real[None, :, None]
    # [Ns, Np, bins]: each sketch patch's mean count over the photo, without photo patch j.
    rest = (over_photo.sum(dim=1, keepdim=True) - over_photo) / (photo_count - 1).clamp(min=1)
    sketch_weight = _shares(relation.weight_sketch(sketch[0, 1:]), sketch_real)
    sketch_histogram = torch.einsum("n,njb->jb", sketch_weight, torch.log(rest + 1e-3))
    # [Np, bins]: each photo patch's own histogram; without patch j the others' weights grow in proportion.
    own = torch.log((counted * sketch_real[:, None, None]).sum(dim=0) / sketch_real.sum() + 1e-3)
    photo_weight = _shares(relation.weight_photo(photo[0, 1:]), photo_real)
    whole = torch.einsum("j,jb->b", photo_weight, own)
    left = (1.0 - photo_weight).clamp(min=1e-6)
    photo_histogram = (whole[None] - photo_weight[:, None] * own) / left[:, None]
    similarity = F.normalize(relation.project_retrieval(sketch[:, 0]).float(), dim=-1) * F.normalize(
        relation.project_retrieval(photo[:, 0]).float(), dim=-1
    )
    glob = 4.0 * similarity.sum().expand(len(own), 1)
    features = torch.cat([sketch_histogram, photo_histogram, glob], dim=-1)
    return score_features(relation.mlp, features)


def occlusion(network: Network, sketch: Encoding, photo: Encoding) -> FloatArray:
    """The exact importance of each photo patch: the logit lost when its token is masked and the pair related anew.

    Args:
        network: any that reads masked tokens.
        sketch: one encoding.
        photo: one encoding of N tokens.

    Returns:
        [N - 1] float32; 0 for tokens that were masked before.
    """
    length = photo.tokens.shape[1]
    real = photo.mask if photo.mask is not None else photo.tokens.new_ones((1, length), dtype=torch.bool)
    hidden = real.repeat(length - 1, 1)
    hidden[torch.arange(length - 1), torch.arange(1, length)] = False
    variants = photo[torch.zeros(length - 1, dtype=torch.long, device=photo.tokens.device)]
    with torch.no_grad():
        whole = network.relate(sketch, replace(photo, mask=real)).logit[0, 0]
        lost = whole - network.relate(sketch, replace(variants, mask=hidden)).logit[0]
    return np.asarray(lost.masked_fill(~real[0, 1:].to(lost.device), 0.0).float().cpu().numpy())


def _real(mask: Tensor | None, count: int, like: Tensor) -> Tensor:
    """[count] float32: 1 for real patches, 0 for masked ones."""
    return like.new_ones(count) if mask is None else mask[0, 1:].to(like.dtype)


def _shares(logits: Tensor, real: Tensor) -> Tensor:
    """[N, 1] logits -> [N] float32 weights that sum to 1 over real patches."""
    return logits.squeeze(-1).float().masked_fill(real == 0, -torch.inf).softmax(dim=-1)
