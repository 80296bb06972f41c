"""Fits how a matching relation reads: the whitening of its patches, and what best matches say of a pair.

A reading that is learnt on the categories that made the encoder learns to trust what the encoder knows by heart, and
fails elsewhere. So it is learnt on encodings of categories that their encoder has not seen: of several encoders, each
trained without a part of the categories, or of held-out ones. Whitened patches compare alike whichever encoder made
them, so one reading serves all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import ConfigurationError
from model.layers.matching import MatchingRelation
from model.layers.whitening import whitening_of
from model.training.sampling import generator_for
from model.types import Encoding

PATCH_SHRINKAGE = 0.05
"""Of the patches' whitening: there are so many patches that weak directions are no noise."""
_PURPOSE = 11  # of the draws, which no other draws of a run share


@dataclass(frozen=True)
class Shown:
    """What the reading of one encoder is shown: S sketches with C candidates each.

    Attributes:
        features: [S, C, F] float32, as `MatchingRelation.features` gives them.
        relevant: [S, C] bool, of the sketch's category.
        own: [S, C] bool, the photo that the sketch was made from; a row without one where it is not known.
    """

    features: Tensor
    relevant: Tensor
    own: Tensor


@torch.no_grad()
def fit_patches(relation: MatchingRelation, sketches: Encoding, photos: Encoding) -> None:
    """Fit the whitening of patches, and forget how they were read: similarities of whitened patches are others.

    Args:
        relation: of the network that made the encodings.
        sketches, photos: some of the categories it was trained on, both with all tokens real.
    """
    patches = [encoding.tokens[:, 1:].flatten(0, 1).float() for encoding in (sketches, photos)]
    mean, matrix = whitening_of(patches[0], patches[1], PATCH_SHRINKAGE)
    scales, directions = torch.linalg.eigh(matrix.double())
    width = relation.matrix.shape[1]
    kept = directions[:, :width] * scales[:width]  # those that vary most, which a whitening scales least
    relation.mean.copy_(mean)
    relation.matrix.copy_(kept)
    relation.start()


def fit_reading(
    relation: MatchingRelation, shown: list[Shown], *, steps: int = 600, rate: float = 3e-3, seed: int = 2021
) -> list[float]:
    """Learn to rank candidates: by category, and the own photo first where it is known.

    Args:
        relation: whose reading starts anew.
        shown: of each encoder.
        steps: each on 256 sketches, drawn from all encoders alike.
        rate: of the optimiser.
        seed: of the draws, the first weights' too.

    Returns:
        The loss, every fiftieth step.

    Raises:
        ConfigurationError: no sketch has both right and wrong candidates.
    """
    useful = [part for part in map(_with_both, shown) if len(part.features)]
    if not useful:
        raise ConfigurationError("a reading is learnt from sketches that have both right and wrong candidates")
    every = torch.cat([part.features.flatten(0, 1) for part in useful])
    relation.start(every.mean(dim=0), every.std(dim=0))
    _draw_anew(relation.hidden[0], seed)
    parameters = [*relation.linear.parameters(), *relation.hidden.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    losses = []
    for step in range(steps):
        draws = generator_for(seed, step, 0, _PURPOSE)
        terms = []
        for part in useful:
            rows = torch.randint(len(part.features), (256 // len(useful),), generator=draws).to(part.features.device)
            logit = relation.read(part.features[rows])
            terms.append(reading_loss(logit, part.relevant[rows], part.own[rows]))
        loss = torch.stack(terms).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            losses.append(float(loss.detach()))
    return losses


def reading_loss(logit: Tensor, relevant: Tensor, own: Tensor) -> Tensor:
    """Softmax over candidates: a relevant one should come first, all of them should, and the own photo should.

    Args:
        logit: [S, C].
        relevant: [S, C] bool, in each row at least one.
        own: [S, C] bool, in a row at most one.

    Returns:
        scalar: the mean of minus the log-probability that any relevant candidate is drawn, of the mean over relevant
        candidates of minus each one's log-probability, and of minus the log-probability of the own photo.
    """
    log_probability = logit.log_softmax(dim=1)
    any_of_them = -log_probability.masked_fill(~relevant, -torch.inf).logsumexp(dim=1)
    each = -log_probability.masked_fill(~relevant, 0.0).sum(dim=1) / relevant.sum(dim=1)
    terms = [any_of_them.mean(), each.mean()]
    known = own.any(dim=1)
    if bool(known.any()):
        terms.append(F.cross_entropy(logit[known], own[known].float().argmax(dim=1)))
    return torch.stack(terms).mean()


@torch.no_grad()
def _draw_anew(layer: nn.Module, seed: int) -> None:
    """Random weights of a linear layer, within the bounds that torch draws them in."""
    draws = generator_for(seed, 0, 0, _PURPOSE + 1)
    for parameter in layer.parameters():
        bound = layer.get_parameter("weight").shape[1] ** -0.5
        parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=draws))


def _with_both(part: Shown) -> Shown:
    """The sketches that have right and wrong candidates."""
    rows = part.relevant.any(dim=1) & ~part.relevant.all(dim=1)
    return Shown(part.features[rows], part.relevant[rows], part.own[rows])
