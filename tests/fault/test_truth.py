"""The soak's judge finds what is wrong."""

import pytest

from tests.fault.truth import Truth

IDS = ("a", "b", "c")


def answer(version="1.2", ids=IDS, scores=(0.9, 0.8, 0.7), total=None):
    results = [{"photo_id": one, "score": score} for one, score in zip(ids, scores, strict=False)]
    return {"results": results, "gallery_version": version, "total_photos": len(ids) if total is None else total}


@pytest.fixture
def truth():
    known = Truth()
    known.record("1.2", frozenset(IDS))
    known.check_search(0, answer())
    assert known.wrong == []
    return known


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (answer(ids=("a", "b")), "1 photos missing"),
        (answer(ids=("a", "b", "x")), "1 photos missing, 1 too many"),
        (answer(ids=("a", "a", "b", "c"), scores=(0.9, 0.9, 0.8, 0.7)), "twice"),
        (answer(scores=(0.9, 0.7, 0.8)), "order"),
        (answer(scores=(0.95, 0.8, 0.7)), "once 0.9"),
        (answer(total=7), "results of 7"),
    ],
)
def test_a_wrong_answer_is_found(truth, wrong, says):
    truth.check_search(0, wrong)
    assert any(says in one for one in truth.wrong), truth.wrong


def test_versions_that_mix_are_found_as_soon_as_they_can_be(truth):
    truth.check_search(0, answer("1.3", ("a", "b"), (0.9, 0.8)))
    assert truth.wrong == []
    truth.record("1.4", frozenset(("a", "b")))
    assert truth.wrong == []
    truth.check_search(0, answer("1.3", ("a", "c"), (0.9, 0.7)))
    assert truth.wrong
    assert "neither" in truth.wrong[0]


def test_a_version_that_nobody_made_is_found_at_the_end(truth):
    truth.check_search(0, answer("1.9"))
    truth.finish()
    assert "nobody made" in truth.wrong[0]
