"""Arms over a tiny network with random weights, and over scores made by hand."""

import math
from dataclasses import replace

import pytest
import torch

from model.evaluation.arms import Arms, checkpoint_fusion, relate_all, relate_candidates, standardised_fusion
from model.evaluation.calibrate import CONTEXT, calibration_loss, choose_score_rule
from model.evaluation.metrics import average_precision, precision_at, rank_photos
from model.evaluation.timing import time_queries
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.ranking.expansion import expand
from model.ranking.score import score_of
from model.score_rules import ExpansionRule, ScoreRule

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


def one_sketch(network):
    images = torch.randn(1, 3, 64, 64)
    return lambda _: network.encode_sketch(images)


def test_times_cover_every_step(network, encoded):
    times = time_queries(network, one_sketch(network), encoded[1], (3, 50), exhaustive=True)
    assert set(times) == {"encode", "recall", "relate_3", "relate_50", "relate_all"}
    assert all(value > 0 for value in times.values())


def test_the_time_of_recall_includes_expansion(network, encoded, monkeypatch):
    expanded = []

    def counted(queries, *rest):
        expanded.append(len(queries))
        return expand(queries, *rest)

    monkeypatch.setattr("model.evaluation.timing.expand", counted)
    time_queries(network, one_sketch(network), encoded[1], (3,), exhaustive=False)
    assert not expanded
    time_queries(network, one_sketch(network), encoded[1], (3,), expansion=ExpansionRule(4, 1.0), exhaustive=False)
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


def chosen_rule(logits, cosines, relevance, order=None, **options):
    order = torch.arange(logits.shape[1]) if order is None else order
    return choose_score_rule(logits, {ExpansionRule(): cosines}, relevance, order, **options)


def test_a_fusion_is_chosen_where_both_scores_help(validation):
    logits, cosines, relevance = validation
    chosen = chosen_rule(logits, cosines, relevance, depth=40)
    assert 0 < chosen.share < 1
    reached = {each.share: each.seen for each in chosen.tried}
    assert chosen.best.seen == pytest.approx(max(reached.values()), abs=1e-4)
    assert chosen.best.seen > max(reached[0.0], reached[1.0])
    assert chosen.rule.relation_weight > 0 < chosen.rule.recall_weight


def test_what_is_reached_equals_the_ranking_of_a_search(validation):
    """The candidates reordered by the rule, with their calibrated score, and the other photos behind them."""
    logits, cosines, relevance = validation
    order = torch.arange(60)
    chosen = chosen_rule(logits, cosines, relevance, depth=40)
    hits = []
    for row in range(len(logits)):
        first = rank_photos(cosines[row : row + 1], order)[0]
        found = first[:40]
        scores = score_of(chosen.rule, logits[row, found].double(), cosines[row, found].double())
        assert bool(((scores >= 0) & (scores <= 1)).all())
        hits.append(relevance[row, torch.cat([found[scores.argsort(descending=True)], first[40:]])])
    ranked = torch.stack(hits)
    count = relevance.sum(dim=1)
    assert chosen.best.precision_10 == pytest.approx(float(precision_at(ranked, count, 10).mean()))
    assert chosen.best.hit_1 == pytest.approx(float(ranked[:, 0].double().mean()))
    assert chosen.best.hit_5 == pytest.approx(float(ranked[:, :5].any(dim=1).double().mean()))
    assert chosen.best.map_all == pytest.approx(float(average_precision(ranked, count).mean()))
    assert chosen.best.seen == pytest.approx((chosen.best.precision_10 + chosen.best.hit_1 + chosen.best.hit_5) / 3)


def test_expansion_is_part_of_the_choice_and_its_cost_is_told(validation):
    logits, cosines, relevance = validation
    order = torch.arange(60)
    better = cosines + 0.2 * relevance
    rules = {ExpansionRule(): cosines, ExpansionRule(5, 1.0): better}
    chosen = choose_score_rule(logits, rules, relevance, order)
    assert chosen.rule.expansion == ExpansionRule(5, 1.0)
    recall = max(each.map_all for each in chosen.tried if each.share == 1)
    assert chosen.expansion_costs == pytest.approx(chosen.best.map_all - recall)


def test_candidates_heed_each_other_where_that_shows_more(validation):
    logits, cosines, relevance = validation
    order = torch.arange(60)
    told = chosen_rule(logits, cosines, relevance)
    assert not told.rule.context.used  # photos are not known
    kinds = torch.nn.functional.one_hot(relevance.float().mean(dim=0).argsort() % 2).float()
    useless = choose_score_rule(logits, {ExpansionRule(): cosines}, relevance, order, photos=kinds)
    assert useless.best == told.best
    same = relevance[:1].expand(40, -1)  # the photos that are right for one sketch are right for all, and look alike
    alike = torch.stack([same[0].float(), 1 - same[0].float()], dim=1)
    noise = torch.randn(2, 40, 60, generator=torch.Generator().manual_seed(3))
    scores = same + 0.8 * noise[0], same + 0.8 * noise[1]
    chosen = choose_score_rule(scores[0], {ExpansionRule(): scores[1]}, same, order, photos=alike)
    assert chosen.rule.context == CONTEXT == chosen.best.context
    assert chosen.best.seen > max(each.seen for each in chosen.tried if not each.context.used) + 1e-4
    assert chosen.rule.relation_weight > 0


def test_the_relation_alone_is_kept_where_recall_adds_nothing(validation):
    logits, _, relevance = validation
    noise = torch.randn(40, 60, generator=torch.Generator().manual_seed(5))
    chosen = chosen_rule(logits, noise, relevance)
    assert chosen.share < 0.3
    assert chosen.rule.relation_weight > 0


def test_the_score_is_calibrated(validation):
    logits, cosines, relevance = validation
    rule = chosen_rule(logits, cosines, relevance).rule
    best = calibration_loss(rule, logits, cosines, relevance)
    assert best < math.log(2)
    for factor, shift in ((1.1, 0.0), (0.9, 0.0), (1.0, 0.1), (1.0, -0.1)):
        other = replace(
            rule,
            relation_weight=rule.relation_weight * factor,
            recall_weight=rule.recall_weight * factor,
            bias=rule.bias + shift,
        )
        assert best <= calibration_loss(other, logits, cosines, relevance) + 1e-7


def test_a_score_that_is_the_same_for_all_pairs_weighs_nothing(validation):
    logits, cosines, relevance = validation
    for constant in (0.0, 7.0, -1e-3):
        same = torch.full_like(logits, constant)
        rule = chosen_rule(same, cosines, relevance).rule
        assert rule.relation_weight == 0
        assert rule.recall_weight > 0
        rule = chosen_rule(logits, same, relevance).rule
        assert rule.recall_weight == 0
        assert rule.relation_weight > 0
        nothing = chosen_rule(same, same, relevance).rule
        assert torch.isfinite(torch.tensor([nothing.relation_weight, nothing.recall_weight, nothing.bias])).all()
