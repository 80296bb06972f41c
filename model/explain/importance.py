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

from model.layers.matching import MatchingRelation
from model.layers.relation import PooledRelation, score_features
from model.networks.network import Network
from model.networks.zse_sbir import ZseNetwork
from model.types import Encoding, Relation, RelationAttention

FloatArray = NDArray[np.float32]


def relate_with_importance(network: Network, sketch: Encoding, photos: Encoding) -> tuple[Relation, FloatArray | None]:
    """Relate one sketch to P photos, with attention and with the importance of each of the photos' patch tokens.

    Args:
        network: any; importance is known where its relation reads a kernel of real patches.
        sketch: one encoding.
        photos: P encodings, which are related in one pass.

    Returns:
        The relation [1, P] with attention, as `network.relate(sketch, photos, attention=True)` gives it, and
        [P, Np - 1] float32, each logit minus the logit without that patch's column of the kernel (0 for masked
        patches), or None.
    """
    if isinstance(network, ZseNetwork) and isinstance(network.relation, MatchingRelation):
        return network.relate(sketch, photos, attention=True), _lost_matches(network, network.relation, sketch, photos)
    if not isinstance(network, ZseNetwork) or not isinstance(network.relation, PooledRelation):
        return network.relate(sketch, photos, attention=True), None
    sides = [encoding.to(network.device, network.dtype) for encoding in (sketch, photos)]
    project = network.cross_attention.project
    with torch.no_grad():
        sketch_side = project(sides[0].tokens, sides[0].mask, "sketch")
        photo_side = project(sides[1].tokens, sides[1].mask, "photo")
        sketch_tokens, photo_tokens, to_photo, to_sketch = network.cross_attention(
            sketch_side, photo_side, weights=True
        )
        logit, kernel = network.relation(sketch_tokens, photo_tokens, sides[0].mask, sides[1].mask)
        without = torch.stack(
            [
                logits_without_patches(
                    network.relation,
                    sketch_tokens[pair],
                    photo_tokens[pair],
                    kernel[pair],
                    sketch_mask=sides[0].mask,
                    photo_mask=None if sides[1].mask is None else sides[1].mask[pair],
                )
                for pair in (slice(number, number + 1) for number in range(len(photos)))
            ]
        )
    if to_photo is None or to_sketch is None:
        raise AssertionError("cross-attention was asked for its weights")
    attention = RelationAttention(to_photo[None], to_sketch[None], kernel[None])
    importance = logit[:, None] - without
    if sides[1].mask is not None:
        importance = importance.masked_fill(~sides[1].mask[:, 1:], 0.0)
    relation = Relation(logit[None], logit.sigmoid()[None], attention)
    return relation, importance.float().cpu().numpy()


@torch.no_grad()
def _lost_matches(network: Network, relation: MatchingRelation, sketch: Encoding, photos: Encoding) -> FloatArray:
    """[P, Np - 1] float32: what each logit loses without each of the photo's patches in turn."""
    own = relation.side(sketch.to(network.device, network.dtype), "sketch")
    theirs = relation.side(photos.to(network.device, network.dtype), "photo")
    logit, kernel = relation(own, theirs)
    lost = logit[:, None] - relation.read(relation.features_without_each(own, theirs, kernel))
    if theirs.mask is not None:
        lost = lost.masked_fill(~theirs.mask, 0.0)
    return np.asarray(lost.float().cpu().numpy())


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
    sketch_count, photo_count = kernel.shape[1:]
    distance = kernel[0].unsqueeze(-1) - relation.centres.float()
    counted = distance.square_().mul_(-relation._precision).exp_()
    sketch_real = None if sketch_mask is None else sketch_mask[0, 1:]
    photo_real = None if photo_mask is None else photo_mask[0, 1:]
    over_photo, over_sketch = counted, counted
    if photo_real is not None:
        over_photo, photo_count = counted * photo_real[None, :, None], int(photo_real.sum())
    if sketch_real is not None:
        over_sketch, sketch_count = counted * sketch_real[:, None, None], int(sketch_real.sum())
    # [Ns, Np, bins]: each sketch patch's mean count over the photo, without photo patch j.
    rest = (over_photo.sum(dim=1, keepdim=True) - over_photo).div_(max(1, photo_count - 1)).add_(1e-3).log_()
    sketch_weight = _shares(relation.weight_sketch(sketch[0, 1:]), sketch_real)
    sketch_histogram = (sketch_weight @ rest.flatten(1)).view(rest.shape[1:])
    # [Np, bins]: each photo patch's own histogram; without patch j the others' weights grow in proportion.
    own = over_sketch.sum(dim=0).div_(sketch_count).add_(1e-3).log_()
    photo_weight = _shares(relation.weight_photo(photo[0, 1:]), photo_real)[:, None]
    mine = photo_weight * own
    photo_histogram = (mine.sum(dim=0, keepdim=True) - mine) / (1.0 - photo_weight).clamp_(min=1e-6)
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


def _shares(logits: Tensor, real: Tensor | None) -> Tensor:
    """[N, 1] logits -> [N] float32 weights that sum to 1 over real patches."""
    flat = logits.squeeze(-1).float()
    return (flat if real is None else flat.masked_fill(~real, -torch.inf)).softmax(dim=-1)
