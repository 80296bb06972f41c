"""Configurations as checkpoints hold them: what survives, and what is refused before anything is built."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from model.config import ZseConfig
from model.errors import ConfigurationError
from model.networks.registry import ARCHITECTURES, PRESETS
from model.networks.stored_config import config_from_json, score_rule_from_json, to_json
from model.presets import ZSE_LITE
from model.score_rules import KindRules, LikelyRule, LikelyRules, QueryKind, ScoreRule
from tests.model.tiny_networks import UPSTREAM_TINY, VIT_POOLED


@pytest.mark.parametrize("config", [*PRESETS.values(), UPSTREAM_TINY, VIT_POOLED], ids=lambda c: c.preset)
def test_configurations_survive_json(config):
    values = json.loads(json.dumps(to_json(config)))
    assert ARCHITECTURES[config.architecture].from_json(values) == config
    assert score_rule_from_json(values) == config.score


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("encoder", "kind", "hybrie"),
        ("encoder", "backbone", 7),
        ("encoder", "width", 10**12),
        ("encoder", "width", "wide"),
        ("encoder", "depth", -1),
        ("encoder", "grid", 100_000),
        ("encoder", "keep_rates", [[2, "most"]]),
        ("encoder", "keep_rates", [2, 0.5]),
        ("encoder", "separate_backbones", "perhaps"),
        ("preprocess", "image_size", 100_000),
        ("preprocess", "std", [0.5, 0.5, 0.0]),
        ("preprocess", "mean", [0.5, 0.5]),
        ("preprocess", "mean", [0.5, 0.5, float("nan")]),
        ("preprocess", "photo_fit", "stretch"),
        ("cross_attention", "values", "mine"),
        ("relation", "hidden", 64),
        ("relation", "hidden", [10**9]),
        ("score", "recall_weight", float("inf")),
        ("score", "expansion", {"neighbours": 10**9}),
        ("score", "expansion", None),
        ("relation", "colour", "red"),
        ("kinds", "photo", {"relation_weight": 0.5, "recall_weight": float("nan")}),
        ("kinds", "photo", 5),
        ("kinds", "song", None),
        ("likely", "sketch", {"weight": -1.0, "bias": 0.0}),
        ("likely", "text", {"weight": 1.0}),
    ],
)
def test_a_value_that_cannot_be_is_named(part, name, value):
    values = to_json(ZSE_LITE)
    with pytest.raises(ConfigurationError, match=rf"{part}: .*{name}"):
        config_from_json(ZseConfig, {**values, part: {**values[part], name: value}})


def test_rules_of_other_kinds_of_query_survive_and_may_be_missing():
    own = replace(ZSE_LITE, kinds=KindRules(ScoreRule(1.0, 2.0), photo=ScoreRule(0.0, 5.0, -1.0)))
    values = json.loads(json.dumps(to_json(own)))
    assert config_from_json(ZseConfig, values) == own
    del values["kinds"]
    assert config_from_json(ZseConfig, values) == ZSE_LITE
    assert [own.rule_for(kind) for kind in get_args(QueryKind)] == [
        own.score, own.kinds.sketch_and_more, None, own.kinds.photo]  # fmt: skip
    assert ZSE_LITE.rule_for("sketch_and_more") is ZSE_LITE.score
    with pytest.raises(ConfigurationError, match="order of recall"):
        KindRules(text=ScoreRule())


def test_rules_of_what_is_likely_survive_and_may_be_missing():
    rule = LikelyRule(10.0, -2.0)
    own = replace(ZSE_LITE, likely=LikelyRules(sketch=rule))
    values = json.loads(json.dumps(to_json(own)))
    assert config_from_json(ZseConfig, values) == own
    assert [own.likely.of(kind) for kind in get_args(QueryKind)] == [rule, None, None, None]
    del values["likely"]
    assert config_from_json(ZseConfig, values) == ZSE_LITE


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (ScoreRule(), False),
        (ScoreRule(0.0, recall_weight=2.0), True),
        (ScoreRule(0.1, recall_weight=2.0), False),
        (ScoreRule(0.0, recall_weight=-2.0), False),
        (ScoreRule(0.0, recall_weight=0.0), False),
    ],
)
def test_a_rule_says_whether_it_keeps_the_order_of_recall(rule, kept):
    assert rule.keeps_recall_order is kept


def test_a_part_that_is_missing_is_named():
    values = to_json(ZSE_LITE)
    del values["relation"]
    with pytest.raises(ConfigurationError, match="missing entries: relation"):
        config_from_json(ZseConfig, values)
