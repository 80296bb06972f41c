"""Arms over a tiny network with random weights, and over scores made by hand."""

from dataclasses import replace

import pytest
import torch

from model.config import ZSE_TINY, ExpansionRule, ScoreRule
from model.evaluation.arms import Arms, checkpoint_fusion, relate_all, relate_candidates, standardised_fusion
from model.evaluation.calibrate import calibration_loss, choose_score_rule
from model.evaluation.metrics import average_precision, rank_photos
from model.evaluation.timing import time_queries
from model.networks.registry import build_network
from model.ranking.expansion import expand

SKETCHES, PHOTOS = 5, 12


@pytest.fixture(scope="module")
def network():
    return build_network(ZSE_TINY, seed=0)


@pytest.fixture(scope="module")
def encoded(network):
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return (
            network.encode_sketch(torch.randn(SKETCHES, 3, 64, 64, generator=generator)),
            network.encode_photo(torch.randn(PHOTOS, 3, 64, 64, generator=generator)),
        )


@pytest.fixture
def arms(network, encoded):
    sketches, photos = encoded
    logits = relate_all(network, sketches, photos)
    return Arms(sketches.descriptor, photos.descriptor, torch.arange(PHOTOS), logits=logits)


def test_all_pairs_in_chunks_equal_pair_by_pair(network, encoded, monkeypatch):
    sketches, photos = encoded
    monkeypatch.setattr("model.evaluation.arms._PHOTO_CHUNK", 5)
    monkeypatch.setattr("model.evaluation.arms._SKETCH_BLOCK", 2)
    told = []
    logits = relate_all(network, sketches, photos, lambda done, total: told.append((done, total)))
    with torch.inference_mode():
        single = [[network.relate(sketches[s : s + 1], photos[p : p + 1]).logit.item() for p in range(PHOTOS)]
                  for s in range(SKETCHES)]  # fmt: skip
    torch.testing.assert_close(logits, torch.tensor(single), atol=1e-5, rtol=1e-4)
    assert told[-1] == (SKETCHES * PHOTOS, SKETCHES * PHOTOS)


def test_candidates_alone_rank_as_all_pairs_do(network, encoded, arms):
    sketches, photos = encoded
    rows = torch.arange(SKETCHES)
    candidates = arms.recall(rows)[:, :6]
    some = relate_candidates(network, sketches, photos, candidates)
    torch.testing.assert_close(some, arms.logits.gather(1, candidates), atol=1e-5, rtol=1e-4)
    lean = Arms(
        sketches.descriptor, photos.descriptor, torch.arange(PHOTOS), candidates=candidates, candidate_logits=some
    )
    for k in (3, 6):
        assert torch.equal(lean.two_stage(k)(rows), arms.two_stage(k)(rows))
        assert torch.equal(lean.two_stage(k, standardised_fusion)(rows), arms.two_stage(k, standardised_fusion)(rows))
    for rank in (lean.relation, lean.fused, lean.two_stage(7)):
        with pytest.raises(ValueError, match=r"all pairs|first photos"):
            rank(rows)


def test_two_stages_order_the_candidates_and_leave_the_rest(arms):
    rows = torch.tensor([0, 3])
    recall, staged = arms.recall(rows), arms.two_stage(4)(rows)
    assert torch.equal(staged[:, 4:], recall[:, 4:])
    assert torch.equal(staged[:, :4].sort().values, recall[:, :4].sort().values)
    logits = arms.logits[rows].gather(1, staged[:, :4])
    assert (logits.diff(dim=1) <= 0).all()
    assert torch.equal(arms.two_stage(PHOTOS)(rows), arms.relation(rows))
    assert torch.equal(arms.two_stage(PHOTOS, arms.fuse)(rows), arms.fused(rows))


def test_every_ranking_is_a_permutation(arms):
    rows = torch.arange(SKETCHES)
    for rank in (arms.recall, arms.relation, arms.fused, arms.two_stage(5)):
        assert torch.equal(rank(rows).sort(dim=1).values, torch.arange(PHOTOS).expand(SKETCHES, PHOTOS))


def test_ties_among_candidates_follow_the_tie_order():
    descriptors = torch.eye(4)[:1]
    order = torch.tensor([2, 0, 3, 1])
    arms = Arms(descriptors, torch.eye(4), order, logits=torch.zeros(1, 4))
    assert arms.relation(torch.tensor([0])).tolist() == [[1, 3, 0, 2]]
    assert arms.two_stage(3)(torch.tensor([0])).tolist() == [[1, 3, 0, 2]]


def test_times_cover_every_step(network, encoded):
    times = time_queries(network, torch.randn(2, 3, 64, 64), encoded[1], (3, 50), exhaustive=True)
    assert set(times) == {"encode", "recall", "relate_3", "relate_50", "relate_all"}
    assert all(value > 0 for value in times.values())


def test_the_time_of_recall_includes_expansion(network, encoded, monkeypatch):
    expanded = []

    def counted(queries, *rest):
        expanded.append(len(queries))
        return expand(queries, *rest)

    monkeypatch.setattr("model.evaluation.timing.expand", counted)
    images = torch.randn(2, 3, 64, 64)
    time_queries(network, images, encoded[1], (3,), exhaustive=False)
    assert not expanded
    time_queries(network, images, encoded[1], (3,), expansion=ExpansionRule(4, 1.0), exhaustive=False)
    assert set(expanded) == {1}


def test_a_checkpoints_fusion_weighs_both_scores_as_its_rule_does():
    logits, cosines = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 0.25]])

    def fusion(*rule):
        return checkpoint_fusion(build_network(replace(ZSE_TINY, score=ScoreRule(*rule)), seed=0))

    fuse = fusion(2.0, 4.0, -1.0)
    assert fuse is not None
    assert fuse(logits, cosines).tolist() == [[4.0, -3.0]]
    assert fusion(1.0, 0.0, 0.0) is None
    assert fusion(0.0, 1.0, 0.0) is None


@pytest.fixture(scope="module")
def validation():
    """Both scores tell something of relevance, independently of each other."""
    generator = torch.Generator().manual_seed(0)
    relevance = torch.rand(40, 60, generator=generator) < 0.2
    noise = torch.randn(2, 40, 60, generator=generator)
    return 3 * (relevance + 0.8 * noise[0]) - 5, 0.1 * (relevance + 0.8 * noise[1]), relevance


def test_a_fusion_is_chosen_where_both_scores_help(validation):
    logits, cosines, relevance = validation
    order = torch.arange(60)
    chosen = choose_score_rule(logits, cosines, relevance, order)
    assert 0.2 < chosen.share < 0.8
    assert chosen.map_all[chosen.share] > max(chosen.map_all[0.0], chosen.map_all[1.0]) + 0.05
    rule = chosen.rule
    assert rule.relation_weight > 0 < rule.recall_weight
    fused = rank_photos(rule.relation_weight * logits + rule.recall_weight * cosines, order)
    mixture = (1 - chosen.share) / logits.std() * logits + chosen.share / cosines.std() * cosines
    assert torch.equal(fused[:, :5], rank_photos(mixture, order)[:, :5])


def test_the_relation_alone_is_kept_where_recall_adds_nothing(validation):
    logits, _, relevance = validation
    noise = torch.randn(40, 60, generator=torch.Generator().manual_seed(5))
    chosen = choose_score_rule(logits, noise, relevance, torch.arange(60))
    assert chosen.share == 0
    assert chosen.rule.recall_weight == 0
    assert chosen.rule.relation_weight > 0


def test_the_score_is_calibrated(validation):
    logits, cosines, relevance = validation
    rule = choose_score_rule(logits, cosines, relevance, torch.arange(60)).rule
    best = calibration_loss(rule, logits, cosines, relevance)
    assert best < calibration_loss(ScoreRule(1.0, 0.0, 0.0), logits, cosines, relevance)
    for factor, shift in ((1.1, 0.0), (0.9, 0.0), (1.0, 0.1), (1.0, -0.1)):
        other = ScoreRule(rule.relation_weight * factor, rule.recall_weight * factor, rule.bias + shift)
        assert best <= calibration_loss(other, logits, cosines, relevance) + 1e-7


def test_a_fusion_that_wins_by_next_to_nothing_is_not_chosen():
    """Recall would mend the last of 30 relevant photos of one sketch in 40: 0.00003 of mAP."""
    relevance = torch.zeros(40, 60, dtype=torch.bool)
    relevance[:, :30] = True
    logits = torch.where(relevance, 1.0, -1.0) - torch.arange(60) / 1e4
    logits[0, 29], logits[0, 30] = 0.0, 0.001
    cosines = torch.where(relevance, 0.1, -0.1) - torch.arange(60) / 1e5
    order = torch.arange(60)
    chosen = choose_score_rule(logits, cosines, relevance, order)
    best = max(chosen.map_all.values())
    assert chosen.map_all[0.0] < best == 1.0
    assert (chosen.share, chosen.rule.recall_weight) == (0.0, 0.0)
    hits = relevance.gather(1, rank_photos(logits, order))
    assert chosen.map_all[0.0] == pytest.approx(float(average_precision(hits, relevance.sum(dim=1)).mean()))


def test_a_score_that_is_the_same_for_all_pairs_weighs_nothing(validation):
    logits, cosines, relevance = validation
    order = torch.arange(60)
    for constant in (0.0, 7.0, -1e-3):
        same = torch.full_like(logits, constant)
        rule = choose_score_rule(same, cosines, relevance, order).rule
        assert rule.relation_weight == 0
        assert rule.recall_weight > 0
        rule = choose_score_rule(logits, same, relevance, order).rule
        assert rule.recall_weight == 0
        assert rule.relation_weight > 0
        nothing = choose_score_rule(same, same, relevance, order).rule
        assert torch.isfinite(torch.tensor([nothing.relation_weight, nothing.recall_weight, nothing.bias])).all()
