"""The documents of an answer: what their classes would check one by one."""

from __future__ import annotations

import json

from app.search.answer_documents import result_of, search_answer
from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.images.opening import open_image
from sketchseek_client import Result, SearchAnswer, Timings
from tests.app.conftest import sketch

STAGES = {"decode": 1.234, "queue": 0.0, "encode": 2.0, "recall": 3.0, "rerank": 4.0, "total": 10.239}


def test_results_that_are_checked_together_are_written_as_each_alone(network, shared_gallery):
    snapshot = GallerySnapshot.load(shared_gallery, network.identity)
    searcher = TwoStageSearcher(network, snapshot)
    parts = QueryParts(searcher.prepare(open_image(sketch(3))), like=[2])
    for query, root_path in ((Query(collapse=True), None), (Query(rerank=False), ""), (Query(), "/below")):
        (found,) = searcher.search_many([parts], [query])
        answer = search_answer(found, snapshot, timings_ms=STAGES, root_path=root_path)
        results = [result_of(one, root_path) for one in found.results]
        assert results
        assert all(type(one) is Result for one in answer.results)
        assert results[0].taken == found.results[0].photo.taken.isoformat(timespec="seconds")
        alone = SearchAnswer(
            results=results,
            timings_ms=Timings(decode=1.23, queue=0.0, encode=2.0, recall=3.0, rerank=4.0, total=10.24),
            gallery_version=snapshot.version,
            checkpoint=snapshot.checkpoint,
            reranked=query.rerank,
            parts={"sketch": 1.0, "like": 1.0},
            little_ink=False,
            total_photos=13,
            as_of=str(snapshot.as_of and snapshot.as_of.isoformat()),
        )
        assert answer.model_dump_json() == alone.model_dump_json()
        assert json.loads(answer.model_dump_json())["results"][0]["score"] == round(found.results[0].score, 9)
