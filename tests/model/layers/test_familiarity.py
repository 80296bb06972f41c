"""Familiar photos step back: nothing until fitted; then lengths alone change, and more for what is more familiar."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.checkpoints.files import load_tensors
from model.errors import CheckpointError
from model.layers.familiarity import PROTOTYPES, Familiarity
from model.layers.whitening import Whitening
from model.networks.registry import build_network
from model.presets import ZSE_TINY


def unit(count: int, size: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def around(centre: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    return F.normalize(centre + 0.3 * unit(count, len(centre), seed), dim=1)


def fitted(strength: float = 0.5) -> tuple[Familiarity, torch.Tensor]:
    """Of two categories, and their directions."""
    centres = torch.eye(8)[:2]
    labels = torch.arange(2).repeat_interleave(20)
    sketches = torch.cat([around(centre, 20, seed) for seed, centre in enumerate(centres)])
    photos = torch.cat([around(centre, 20, 10 + seed) for seed, centre in enumerate(centres)])
    familiarity = Familiarity(8)
    familiarity.fit((sketches, labels), (photos, labels), strength)
    return familiarity, centres


def test_nothing_changes_until_it_is_fitted_or_after_a_reset():
    photos = unit(5, 8, 1)
    assert torch.equal(Familiarity(8)(photos), photos)
    familiarity, _ = fitted()
    assert not torch.equal(familiarity(photos), photos)
    familiarity.reset()
    assert torch.equal(familiarity(photos), photos)


def test_what_was_trained_on_is_shortened_by_its_likeness_and_points_where_it_did():
    familiarity, centres = fitted(strength=0.5)
    strange = torch.eye(8)[2:3]
    photos = torch.cat([around(centres[0], 4, 7), strange, -centres[:1]])
    shortened = familiarity(photos)
    lengths = shortened.norm(dim=1)
    naive = [
        1 - 0.5 * max(0.0, *(float(photo @ prototype) for prototype in familiarity.prototypes[:2])) for photo in photos
    ]
    torch.testing.assert_close(lengths, torch.tensor(naive))
    torch.testing.assert_close(F.normalize(shortened, dim=1), photos)
    assert lengths[:4].max() < 0.6
    assert lengths[4:].min() > 0.9, "what is like no category keeps its length"


def test_a_category_without_sketches_or_photos_is_remembered_by_the_others():
    one, two = torch.eye(4)[:1], torch.eye(4)[1:2]
    familiarity = Familiarity(4)
    familiarity.fit((one, torch.tensor([3])), (two, torch.tensor([5])))
    torch.testing.assert_close(familiarity.prototypes[:2], torch.cat([one, two]))
    assert not familiarity.prototypes[2:].any()


def test_more_categories_than_there_is_room_for_are_taken_evenly():
    count = PROTOTYPES + 100
    photos, labels = unit(count, 6, 2), torch.arange(count)
    familiarity = Familiarity(6)
    familiarity.fit((photos[:0], labels[:0]), (photos, labels))
    torch.testing.assert_close(familiarity.prototypes[:306], photos[::2])
    assert not familiarity.prototypes[306:].any()


def test_weights_of_before_are_loaded_and_change_nothing():
    network = build_network(replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, whitened=True)), seed=0)
    earlier = {name: value for name, value in network.state_dict().items() if "familiarity" not in name}
    load_tensors(network, earlier, "a checkpoint")
    with pytest.raises(CheckpointError, match=r"whitening\.mean"):
        load_tensors(network, {k: v for k, v in earlier.items() if k != "whitening.mean"}, "a checkpoint")
    assert not network.state_dict()["whitening.familiarity.prototypes"].any()


def test_sketches_keep_their_length_behind_a_whitening_and_a_new_fit_forgets():
    sketches, photos, labels = unit(30, 6, 3), unit(30, 6, 4), torch.arange(30) % 3
    whitening = Whitening(6)
    whitening.fit(sketches, photos)
    whitening.familiarity.fit((whitening(sketches, "sketch"), labels), (whitening(photos, "photo"), labels))
    torch.testing.assert_close(whitening(sketches, "sketch").norm(dim=1), torch.ones(30))
    assert whitening(photos, "photo").norm(dim=1).max() < 1
    whitening.fit(sketches, photos)
    torch.testing.assert_close(whitening(photos, "photo").norm(dim=1), torch.ones(30))
