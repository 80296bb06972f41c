"""Near-identical results become one: against a plain loop over the results of the same search without it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import BuildOptions, GallerySnapshot, build_gallery
from index_builder.near_identical import NEAR_IDENTICAL
from index_builder.photo_filter import PhotoFilter
from model.images.opening import open_image
from tests.app.conftest import picture, sketch


@pytest.fixture(scope="module")
def searcher(tmp_path_factory, network):
    """Twelve photos, four of them once more, and one of these twice more."""
    root = tmp_path_factory.mktemp("twice")
    for seed in range(12):
        picture(seed).save(root / f"{seed}.png")
    for seed, copy in ((1, "a"), (2, "a"), (3, "a"), (4, "a"), (4, "b")):
        (root / copy).mkdir(exist_ok=True)
        shutil.copy(root / f"{seed}.png", root / copy / f"{seed}.png")
    build_gallery(root, root / "g", network, options=BuildOptions(workers=1))
    return TwoStageSearcher(network, GallerySnapshot.load(root / "g", network.identity))


def naive(searcher, results, liked):
    """Ids of the results that stay, each with those that it stands for."""
    rows = [one.row for one in results]
    units = searcher.snapshot.searched_descriptors(rows)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    leaders: list[int] = []
    groups: dict[int, list[str]] = {}
    for place, one in enumerate(results):
        likest = max(leaders, key=lambda other: (units[other] @ units[place], -other), default=None)
        if likest is None or units[likest] @ units[place] < NEAR_IDENTICAL:
            leaders.append(place)
            groups[place] = []
        elif one.row in liked:
            groups[place] = []
        else:
            groups[likest].append(one.photo.photo_id)
    return [(results[place].photo.photo_id, others) for place, others in groups.items()]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 5),
    whole=st.builds(Query, top_k=st.just(100), candidates=st.integers(1, 17), rerank=st.booleans()),
    offset=st.integers(0, 5),
    top_k=st.integers(1, 17),
    liked=st.sets(st.integers(0, 16), max_size=3),
)
def test_results_collapse_as_in_a_plain_loop(searcher, *, seed, whole, offset, top_k, liked):
    parts = QueryParts(searcher.prepare(open_image(sketch(seed))), like=sorted(liked))
    (plain,) = searcher.search_many([parts], [whole])
    part = replace(whole, top_k=top_k, offset=offset, collapse=True)
    (found,) = searcher.search_many([parts], [part])
    expected = naive(searcher, plain.results, liked)
    shown = [(one.photo.photo_id, [other.photo_id for other in one.duplicates or ()]) for one in found.results]
    assert shown == expected[offset : offset + top_k]
    assert [one.rank for one in found.results] == list(range(offset + 1, offset + 1 + len(shown)))
    assert all(one.duplicates is None for one in plain.results)


def test_copies_are_found_and_liked_ones_stay(searcher):
    parts = QueryParts(searcher.prepare(open_image(sketch(0))))
    (found,) = searcher.search_many([parts], [Query(top_k=100, collapse=True)])
    others = {one.photo.path: {other.path for other in one.duplicates or ()} for one in found.results}
    together = [{path, *more} for path, more in others.items()]
    assert any({"4.png", "a/4.png", "b/4.png"} <= group for group in together)
    rows = [searcher.snapshot.row_of(one.photo_id) for one in map(searcher.snapshot.photo, range(17))
            if one.path in ("4.png", "b/4.png")]  # fmt: skip
    (liked,) = searcher.search_many([QueryParts(like=rows)], [Query(top_k=100, collapse=True)])
    assert {one.row for one in liked.results[:2]} == set(rows)


def test_pages_stay_the_same_while_photos_are_added(tmp_path, network):
    root = tmp_path / "photos"
    root.mkdir()
    for seed in range(9):
        picture(seed).save(root / f"{seed}.png")
    build_gallery(root, tmp_path / "g", network, options=BuildOptions(workers=1))
    before = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert before.as_of is not None
    assert before.as_of < datetime.now(UTC)
    for seed in range(20, 40):
        picture(seed).save(root / f"{seed}.png")
    build_gallery(root, tmp_path / "g", network, options=BuildOptions(workers=1))
    after = GallerySnapshot.load(tmp_path / "g", network.identity)

    def page(snapshot, offset, **only):
        query = Query(top_k=3, offset=offset, candidates=9, only=PhotoFilter(**only))
        answer = TwoStageSearcher(network, snapshot).search(open_image(sketch(3)), query)
        return answer.searched, [(one.rank, one.photo.photo_id) for one in answer.results]

    assert page(after, 0)[0] == 29
    for offset in (0, 3, 6):
        assert page(after, offset, as_of=before.as_of) == page(before, offset)
