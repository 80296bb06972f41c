"""What is decided after the last step: whether queries are expanded, and what a whitening is fitted on."""

from dataclasses import replace

import pytest
import torch

from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.score_rules import ExpansionRule
from model.training.run.fit_whitening import PER_CATEGORY, fit_whitening
from model.training.run.validation import EXPANSION, Validation, mean_quality

QUERIES, PHOTOS = 20, 30


@pytest.fixture
def found():
    """A validation of noisy scores; `expanded` is as good as the cosines."""
    generator = torch.Generator().manual_seed(0)
    relevant = torch.rand(QUERIES, PHOTOS, generator=generator) < 0.3
    order = torch.arange(PHOTOS)
    logits, cosines = relevant + torch.randn(2, QUERIES, PHOTOS, generator=generator)
    photos = torch.randn(PHOTOS, 8, generator=generator)
    quality = *mean_quality(cosines, relevant, order), *mean_quality(logits, relevant, order)
    return Validation(*quality, logits, cosines, cosines.clone(), photos, relevant, order)


def test_expansion_is_chosen_where_it_shows_more(found):
    better = replace(found, expanded=found.cosines + 0.5 * found.relevant)
    assert better.choose_rule().rule.expansion == EXPANSION


def test_expansion_that_changes_nothing_or_makes_it_worse_is_not_chosen(found):
    for same in (found, replace(found, expanded=-found.cosines)):
        assert same.choose_rule().rule.expansion == ExpansionRule()


def test_a_whitening_is_fitted_on_several_images_of_every_category(material, monkeypatch):
    network = build_network(replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, whitened=True)), seed=0).eval()
    images = {"sketch": material.sketches, "photo": material.photos}
    met = {"sketch": 0, "photo": 0}
    for kind in met:
        encode = getattr(network, f"encode_{kind}")

        def counted(pixels, kind=kind, encode=encode):
            met[kind] += len(pixels)
            return encode(pixels)

        monkeypatch.setattr(network, f"encode_{kind}", counted)
    # as many of the first category as are too many, and the few that there are of the others
    many = {
        kind: part.rows([*[0] * (PER_CATEGORY + 5), *range(1, len(part))]) for kind, part in images.items()
    }  # fmt: skip
    assert fit_whitening(network, many["sketch"], many["photo"], seed=0)
    for kind, part in images.items():
        others = int((part.labels != part.labels[0]).sum())
        assert met[kind] == PER_CATEGORY + others > len(material.categories)
    remembered = network.state_dict()["whitening.familiarity.prototypes"].any(dim=1)
    assert remembered.sum() == len(material.categories)
    assert PER_CATEGORY >= 10
