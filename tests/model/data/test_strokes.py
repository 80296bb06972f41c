import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.strokes import StrokeAugment, read_strokes, stroke_variants, vary_strokes
from model.errors import DatasetError

DRAWING = [[[0, 10, 255], [0, 40, 90]], [[5, 6], [7, 8]]]


def line(word="cat", drawing=DRAWING, **more):
    return json.dumps({"word": word, "key_id": "7", "drawing": drawing} | more)


def test_plain_gzipped_and_raw_drawings(tmp_path):
    raw = [[[0, 1], [0, 1], [0, 16]]]
    plain = tmp_path / "a.ndjson"
    plain.write_text(line() + "\n\n" + line("dog", raw) + "\n")
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(line("owl").encode()))
    dataset = read_strokes(plain)
    assert [item.category for item in dataset.items] == ["cat", "dog"]
    assert [item.strokes for item in dataset.items] == [
        (((0, 10, 255), (0, 40, 90)), ((5, 6), (7, 8))),
        (((0, 1), (0, 1)),),
    ]
    assert (dataset.items[0].key, dataset.items[0].modality) == ("7", "sketch")
    assert read_strokes(tmp_path).categories == ("cat", "dog", "owl")


def test_limits_and_recognition(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("\n".join([line(recognized=False), line(), line(), line("dog")]))
    assert len(read_strokes(path)) == 4
    assert len(read_strokes(path, recognized_only=True)) == 3
    assert len(read_strokes(path, per_category=1)) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        "{not json",
        "[]",
        '{"word": "cat"}',
        line(drawing=[]),
        line(drawing=[[[1, 2], [1]]]),
        line(drawing=[[["a"], ["b"]]]),
        line(drawing=5),
    ],
)
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = tmp_path / "a.ndjson"
    path.write_text(line() + "\n" + damaged + "\n")
    with pytest.raises(DatasetError, match=r"a\.ndjson, line 2"):
        read_strokes(path)


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match="gone"):
        read_strokes(tmp_path / "gone.ndjson")
    with pytest.raises(DatasetError, match=r"no \.ndjson"):
        read_strokes(tmp_path)
    whole = gzip.compress((line() + "\n").encode() * 400)
    (tmp_path / "cut.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"cut\.ndjson\.gz"):
        read_strokes(tmp_path / "cut.ndjson.gz")
    (tmp_path / "none.ndjson").write_text("")
    with pytest.raises(DatasetError, match="no drawing"):
        read_strokes(tmp_path / "none.ndjson")


strokes = st.lists(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(strokes, st.integers(0, 1000))
def test_varied_strokes_keep_their_points_and_at_least_half_of_the_length(points, seed):
    drawing = tuple((tuple(x for x, _ in stroke), tuple(y for _, y in stroke)) for stroke in points)
    varied = vary_strokes(drawing, StrokeAugment(drop=0.9, tremble=0, shift=0, stretch=0), np.random.default_rng(seed))

    def length(strokes):
        return sum(np.hypot(np.diff(xs), np.diff(ys)).sum() + 1e-3 for xs, ys in strokes)

    assert 1 <= len(varied) <= len(drawing)
    assert length(varied) >= length(drawing) / 2 - 1e-6
    still = vary_strokes(drawing, StrokeAugment(0, 0, 0, 0), np.random.default_rng(seed))
    assert [len(xs) for xs, _ in still] == [len(xs) for xs, _ in drawing]
    assert np.allclose(np.concatenate(still, axis=1), np.concatenate(drawing, axis=1))


def test_variants_are_reproducible_and_start_with_the_drawing(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(line() + "\n")
    items = read_strokes(path).items
    variants = stroke_variants(items, 3, StrokeAugment(), seed=1)
    assert len(variants) == 3
    assert variants[0] == items[0]
    assert len({item.strokes for item in variants}) == 3
    assert variants == stroke_variants(items, 3, StrokeAugment(), seed=1)
    assert variants != stroke_variants(items, 3, StrokeAugment(), seed=2)
