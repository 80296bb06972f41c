"""The four ways to rank a gallery that are measured side by side: recall, relation, recall then relation, and a fusion.

* recall: by the cosine of descriptors.
* relation: by the relation logit of every sketch with every photo ("exhaustive").
* two stages at k: the k first photos of recall are ordered anew, and the rest of the gallery follows in recall's order,
  so that AP@all stays defined.
* fused: by a score of both, over all photos or within k, where the candidates may then heed each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from model.evaluation.metrics import rank_photos
from model.evaluation.protocols import Rank
from model.networks.network import Network
from model.ranking.context import CandidatePhotos
from model.ranking.expansion import expand
from model.ranking.score import mixture
from model.score_rules import ExpansionRule, QueryKind, ScoreRule
from model.types import Encoding

Progress = Callable[[int, int], None]
Fuse = Callable[[Tensor, Tensor, CandidatePhotos | None], Tensor]
_PHOTO_CHUNK = 1024
_SKETCH_BLOCK = 16
_EXPANDED_BLOCK = 256
_PAIRS_OF_CANDIDATES = 2**22  # compared at once, so that deep candidates take no gigabytes


@torch.inference_mode()
def relate_all(network: Network, sketches: Encoding, photos: Encoding, progress: Progress | None = None) -> Tensor:
    """[S, P] float32 on the CPU: the relation logit of every pair.

    Args:
        network: relates on its own device, to which photos move a chunk at a time.
        sketches, photos: S and P encodings, on the CPU.
        progress: called with (pairs done, all pairs).
    """
    logits = torch.empty(len(sketches), len(photos))
    done = 0
    for first in range(0, len(photos), _PHOTO_CHUNK):
        chunk = photos[first : first + _PHOTO_CHUNK].to(network.device)
        for start in range(0, len(sketches), _SKETCH_BLOCK):
            block = sketches[start : start + _SKETCH_BLOCK].to(network.device)
            logits[start : start + len(block), first : first + len(chunk)] = network.relate(block, chunk).logit.cpu()
            done += len(block) * len(chunk)
            if progress is not None:
                progress(done, len(sketches) * len(photos))
    return logits


@torch.inference_mode()
def relate_candidates(
    network: Network, sketches: Encoding, photos: Encoding, candidates: Tensor, progress: Progress | None = None
) -> Tensor:
    """[S, K] float32 on the CPU: the relation logit of each sketch with its own candidates.

    Args:
        network: relates on its own device.
        sketches, photos: S and P encodings, on the CPU.
        candidates: [S, K] int64, rows of `photos`.
        progress: called with (pairs done, all pairs).
    """
    logits = torch.empty(candidates.shape)
    for row in range(len(sketches)):
        logits[row] = network.relate(sketches[row : row + 1], photos[candidates[row]]).logit[0].cpu()
        if progress is not None:
            progress((row + 1) * candidates.shape[1], candidates.numel())
    return logits


def expanded_queries(sketches: Tensor, photos: Tensor, tie_order: Tensor, rule: ExpansionRule) -> Tensor:
    """What searches a gallery in the end: descriptors of sketches, each moved towards its first hits.

    Args:
        sketches: [S, E] float32, L2-normalised.
        photos: [P, E] float32, no longer than 1.
        tie_order: [P] int64, see `metrics.rank_photos`.
        rule: how; without neighbours nothing is moved.

    Returns:
        [S, E] float32, L2-normalised.
    """
    if not rule.neighbours:
        return sketches
    blocks = []
    for block in torch.split(sketches, _EXPANDED_BLOCK):
        first = rank_photos(block @ photos.T, tie_order)[:, : rule.neighbours]
        blocks.append(expand(block, photos[first], rule.weight))
    return torch.cat([sketches[:0], *blocks])


def checkpoint_fusion(network: Network, kind: QueryKind = "sketch") -> Fuse | None:
    """The rule for queries of a kind where it weighs both scores, else None.

    Logits, cosines and, where candidates may heed each other, their photos in; scores out.
    """
    rule: ScoreRule | None = network.config.rule_for(kind)
    if rule is None or not rule.relation_weight or not rule.recall_weight:
        return None
    # the sigmoid keeps the order, but its rounding would tie the best photos
    return partial(mixture, rule)


def standardised_fusion(logit: Tensor, cosine: Tensor, _: CandidatePhotos | None = None) -> Tensor:
    """The sum of both scores, each with mean 0 and standard deviation 1 over a sketch's photos: [Q, K] each.

    What a checkpoint without a rule of its own is fused by; it has no parameter that could be fitted to the test.
    """
    return _standardised(logit) + _standardised(cosine)


def _standardised(scores: Tensor) -> Tensor:
    deviation = scores.std(dim=1, keepdim=True, correction=0).clamp(min=1e-12)
    return (scores - scores.mean(dim=1, keepdim=True)) / deviation


@dataclass(frozen=True)
class Arms:
    """The scores of S sketches with P photos, and the rankings that follow from them.

    Attributes:
        sketch_descriptors: [S, E] float32, L2-normalised, as they search: expanded or not.
        photo_descriptors: [P, E] float32, no longer than 1.
        tie_order: [P] int64, see `metrics.rank_photos`.
        logits: [S, P] float32 relation logits of all pairs, or None where only candidates were related.
        candidates: [S, K] int64, recall's first photos, best first, or None where nothing is related by candidates.
        candidate_logits: [S, K] float32 relation logits of the candidates, or None where `logits` has them all.
        fuse: logits and cosines [Q, K], and perhaps the candidates' photos -> scores [Q, K].
        drawn: [S, E] float32, the sketches' descriptors before they were expanded, the same tensor where they were not;
            None where candidates are not to heed each other.
    """

    sketch_descriptors: Tensor
    photo_descriptors: Tensor
    tie_order: Tensor
    logits: Tensor | None = None
    candidates: Tensor | None = None
    candidate_logits: Tensor | None = None
    fuse: Fuse = standardised_fusion
    drawn: Tensor | None = None

    def cosines(self, rows: Tensor) -> Tensor:
        """[B, P] float32 recall scores of some sketches."""
        return self.sketch_descriptors[rows] @ self.photo_descriptors.T

    def recall(self, rows: Tensor) -> Tensor:
        """[B, P] int64 photos by descending recall score."""
        return rank_photos(self.cosines(rows), self.tie_order)

    def relation(self, rows: Tensor) -> Tensor:
        """[B, P] int64 photos by descending relation logit."""
        return rank_photos(self._all_logits()[rows], self.tie_order)

    def fused(self, rows: Tensor) -> Tensor:
        """[B, P] int64 photos by descending fused score."""
        return rank_photos(self.fuse(self._all_logits()[rows], self.cosines(rows), None), self.tie_order)

    def two_stage(self, k: int, fuse: Fuse | None = None) -> Rank:
        """Ranks the k first photos of recall anew, by the relation logit or a fusion; the others follow as they
        were."""

        def rank(rows: Tensor) -> Tensor:
            cosines = self.cosines(rows)
            order = rank_photos(cosines, self.tie_order)
            first = order[:, :k]
            scores = self._logits_of(rows, first)
            if fuse is not None:
                scores = self._fused(fuse, rows, first, scores.double(), cosines.gather(1, first).double())
            return torch.cat([self._reordered(first, scores), order[:, k:]], dim=1)

        return rank

    def _fused(self, fuse: Fuse, rows: Tensor, photos: Tensor, logits: Tensor, cosines: Tensor) -> Tensor:
        """[B, K] scores of the candidates `photos`, which heed each other if they may."""
        if self.drawn is None:
            return fuse(logits, cosines, None)
        parts = []
        for some in torch.split(torch.arange(len(rows)), max(1, _PAIRS_OF_CANDIDATES // photos.shape[1] ** 2)):
            near = self.photo_descriptors[photos[some]]
            direct = None
            if self.drawn is not self.sketch_descriptors:
                direct = torch.einsum("be,bke->bk", self.drawn[rows[some]], near)
            parts.append(fuse(logits[some], cosines[some], CandidatePhotos(near, direct)))
        return torch.cat(parts)

    def _reordered(self, photos: Tensor, scores: Tensor) -> Tensor:
        """Photos [B, K] by descending score, equal ones in the tie order."""
        by_identity = self.tie_order[photos].argsort(dim=1)
        photos, scores = photos.gather(1, by_identity), scores.gather(1, by_identity)
        return photos.gather(1, scores.sort(dim=1, descending=True, stable=True).indices)

    def _logits_of(self, rows: Tensor, photos: Tensor) -> Tensor:
        if self.logits is not None:
            return self.logits[rows].gather(1, photos)
        if self.candidate_logits is None or self.candidates is None:
            raise ValueError("nothing was related")
        if not torch.equal(self.candidates[rows, : photos.shape[1]], photos):
            raise ValueError("the candidates are not recall's first photos")
        return self.candidate_logits[rows, : photos.shape[1]]

    def _all_logits(self) -> Tensor:
        if self.logits is None:
            raise ValueError("this arm needs the relation of all pairs")
        return self.logits
