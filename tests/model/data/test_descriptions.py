"""Descriptions of categories: those that come with the package, and files of one's own."""

import pytest

from model.data.descriptions import QUESTIONS, Descriptions, bundled_descriptions, read_descriptions, write_descriptions
from model.data.items import category_key
from model.data.splits import PUBLISHED_SPLITS, reserved_categories, unseen_categories
from model.errors import DatasetError


def test_every_test_category_of_the_published_splits_is_described():
    known = bundled_descriptions()
    for split in PUBLISHED_SPLITS:
        assert len(known.of(unseen_categories(split))) == len(unseen_categories(split))
    assert known.of(reserved_categories())


def test_every_category_has_an_answer_to_each_question():
    known = bundled_descriptions()
    assert known.questions == QUESTIONS
    assert "language model" in known.written_by
    assert len(known.categories) > 430
    assert len({category_key(name) for name in known.categories}) == len(known.categories)
    for name, said in known.categories.items():
        assert len(said) == len(QUESTIONS), name
        for sentence in said:
            assert sentence.endswith("."), (name, sentence)
            assert sentence[0].isupper(), (name, sentence)
            assert 2 <= len(sentence.split()) <= 30, (name, sentence)


def test_spelling_does_not_matter_and_what_is_missing_is_named():
    known = bundled_descriptions()
    assert known.of(["Teddy bear"]) == known.of(["teddy-bear"])
    with pytest.raises(DatasetError, match=r"no sentences describe gizmo, qux and.*|no sentences describe gizmo, qux:"):
        known.of(["cat", "gizmo", "qux"])
    with pytest.raises(DatasetError, match="and 2 more"):
        known.of([f"thing{n}" for n in range(7)])


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "d.json"
    mine = Descriptions("me", ("How?",), {"b": ("A »b«.",), "a": ('An "a".',)})
    write_descriptions(path, mine)
    assert read_descriptions(path) == Descriptions("me", ("How?",), {"a": ('An "a".',), "b": ("A »b«.",)})
    assert path.read_text(encoding="utf-8").count("\n") >= 5, "one category per line"
    joined = mine.joined(Descriptions("you", ("How?",), {"A": ("Another.",), "c": ("C.",)}))
    assert joined.of(["a", "b", "c"]) == [("Another.",), ("A »b«.",), ("C.",)]
    assert joined.written_by == "me and you"


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"written_by": "x", "questions": ["a"], "categories": {"a": []}}',
        '{"written_by": "x", "questions": ["a"], "categories": {"a": [1]}}',
        '{"written_by": "x", "questions": ["a"], "categories": {"a": [" "]}}',
        '{"written_by": "x", "questions": ["a"], "categories": ["a"]}',
    ],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match="is no file of descriptions"):
        read_descriptions(path)
    with pytest.raises(DatasetError, match="cannot read the descriptions"):
        read_descriptions(tmp_path / "missing.json")
