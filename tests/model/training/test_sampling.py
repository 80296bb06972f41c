"""What a step sees: balanced, repeatable, and never a wrong photo of the right category."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.training.sampling import CategorySampler, generator_for, wrong_photos

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=30)


@given(sketches=LABELS, photos=LABELS, categories=st.integers(1, 7), each=st.integers(1, 4), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_a_draw_is_balanced_over_categories_that_have_both(sketches, photos, categories, each, seed):
    both = set(sketches) & set(photos)
    if not both:
        return
    sampler = CategorySampler(torch.tensor(sketches), torch.tensor(photos))
    sample = sampler.draw(categories, each, torch.Generator().manual_seed(seed))
    counts = Counter(sample.labels.tolist())
    assert counts.keys() <= both
    assert len(counts) == min(categories, len(both))
    assert set(counts.values()) == {each}
    for rows, labels in ((sample.sketches, sketches), (sample.photos, photos)):
        assert [labels[row] for row in rows.tolist()] == sample.labels.tolist()
        for label in counts:
            of_label = [row for row in rows.tolist() if labels[row] == label]
            assert len(set(of_label)) == each or labels.count(label) < each  # none twice where there are enough


def test_generators_repeat_and_none_is_shared():
    drawn = {
        (step, rank, purpose): float(torch.rand(1, generator=generator_for(7, step, rank, purpose)))
        for step in range(20)
        for rank in range(3)
        for purpose in range(5)
    }
    assert len(set(drawn.values())) == len(drawn)
    assert float(torch.rand(1, generator=generator_for(7, 3, 1, 2))) == drawn[3, 1, 2]
    assert float(torch.rand(1, generator=generator_for(8, 3, 1, 2))) != drawn[3, 1, 2]


@given(
    sketches=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    photos=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    hard=st.integers(0, 5),
    easy=st.integers(0, 5),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=80)
def test_wrong_photos_are_never_of_the_sketchs_category(sketches, photos, hard, easy, seed):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(len(sketches), len(photos), generator=generator)
    same = torch.tensor(sketches)[:, None] == torch.tensor(photos)[None, :]
    available = [sum(photo != sketch for photo in photos) for sketch in sketches]
    if not min(available):
        with pytest.raises(ValueError, match="same category"):
            wrong_photos(similarity, same, hard, easy, generator)
        return
    columns = wrong_photos(similarity, same, hard, easy, generator)
    taken = min(hard, *available), min(easy, *available)
    assert columns.shape == (len(sketches), sum(taken))
    assert not bool(same.gather(1, columns).any())
    for row, sketch in enumerate(sketches):
        wrong = [column for column, photo in enumerate(photos) if photo != sketch]
        nearest = sorted(wrong, key=lambda column: -float(similarity[row, column]))[: taken[0]]
        assert columns[row, : taken[0]].tolist() == nearest
        assert len(set(columns[row, taken[0] :].tolist())) == taken[1]
