"""Queries of several parts: the same answer over HTTP in both forms, from the client and from the command line."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from app.cli import main
from app.main import create_app
from app.search.text_encoder import TextEncoder
from sketchseek_client import Client, SearchAnswer
from tests.app.conftest import encoded, picture, settings_for, sketch
from tests.app.http.fuzz import running

PHOTO = encoded(picture(103))


def spelled(_, text):
    """In place of the sentence encoder: letters decide."""
    vector = np.random.default_rng([ord(letter) for letter in text]).normal(size=16).astype(np.float32)
    return vector / np.linalg.norm(vector)


def as_uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def ids(service):
    return [one["photo_id"] for one in search(service, {"photo": PHOTO})["results"]]


def search(service, pictures=(), **fields):
    """Over HTTP as a form; JSON where there is no picture."""
    sent = {"files": dict(pictures), "data": fields} if pictures else {"json": fields}
    answer = service.post("/search", **sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(answer):
    return [
        (one["photo_id"], one["score"], one["recall_score"], one["relation_score"], one["contributions"])
        for one in answer["results"]
    ]


def test_a_photo_finds_itself_and_says_so(service):
    answer = search(service, {"photo": PHOTO}, top_k="3")
    first = answer["results"][0]
    assert first["path"] == "things/things-3.png"
    assert first["contributions"] == {"photo": first["recall_score"]}
    assert (answer["reranked"], answer["parts"]) == (False, {"photo": 1.0})


def test_a_form_and_json_are_the_same_query(service):
    like, unlike = ids(service)[:2]
    marked = {"like": [like], "unlike": [unlike], "photo_weight": 0.5, "like_weight": 2, "unlike_weight": 0.25}
    as_form = search(service, {"sketch": sketch(), "photo": PHOTO}, **marked)
    as_json = search(service, image=as_uri(sketch()), photo=as_uri(PHOTO), **marked)
    assert found(as_form) == found(as_json)
    assert as_form["parts"] == {"sketch": 1.0, "photo": 0.5, "like": 2.0, "unlike": 0.25}
    for one in as_form["results"]:
        assert one["contributions"].keys() == as_form["parts"].keys()
        assert sum(one["contributions"].values()) == pytest.approx(one["recall_score"], abs=1e-4)


def test_weightless_parts_are_no_parts(service):
    like, unlike = ids(service)[:2]
    weightless = {"like": [like, "gone"], "unlike": [unlike], "text": "not even encoded", "text_weight": 0}
    weightless |= {"photo_weight": 0, "like_weight": 0, "unlike_weight": 0}
    assert found(search(service, {"sketch": sketch(), "photo": b"no picture"}, **weightless)) == found(
        search(service, {"sketch": sketch()})
    )


def test_refining_keeps_what_is_liked_and_drops_what_is_not(service):
    first = [one["photo_id"] for one in search(service, {"sketch": sketch()}, top_k="13")["results"]]
    refined = search(service, {"sketch": sketch()}, like=[first[-1], first[3]], unlike=[first[0], first[2]], top_k="4")
    results = [one["photo_id"] for one in refined["results"]]
    assert set(results[:2]) == {first[-1], first[3]}
    assert not {first[0], first[2]} & set(results)
    assert refined["total_photos"] == 11


def test_similar_photos_are_those_of_a_query_that_likes_one(service):
    for photo_id in ids(service)[:3]:
        similar = service.get(f"/photos/{photo_id}/similar", params={"top_k": 13}).json()
        liked = search(service, like=[photo_id], expand=False)
        assert liked["results"][0]["photo_id"] == photo_id
        assert found(similar) == found({"results": liked["results"][1:]})


@pytest.fixture(scope="module")
def url(shared_gallery, network):
    with running(create_app(settings_for(shared_gallery), network)) as address:
        yield address


@pytest.mark.parametrize("case", ["photo", "both", "like", "refined", "text", "text and sketch"])
def test_client_and_command_line_give_the_answer_of_http(
    *, capsys, monkeypatch, shared_gallery, checkpoint, tmp_path, case, service, url
):
    monkeypatch.setenv("SKETCHSEEK_DTYPE", "float32")
    monkeypatch.setattr(TextEncoder, "descriptor", spelled)
    like, unlike = ids(service)[:2]
    drawn, shown = tmp_path / "drawn.png", tmp_path / "shown.png"
    drawn.write_bytes(sketch())
    shown.write_bytes(PHOTO)
    marked = {"like": [like], "unlike": [unlike]}
    typed = ["--like", like, "--unlike", unlike]
    cases: dict[str, Any] = {
        "photo": (({"photo": PHOTO}, {}), {"photo": shown}, ["--photo", shown]),
        "both": (
            ({"sketch": sketch(), "photo": PHOTO}, {"photo_weight": "2.5"}),
            {"sketch": drawn, "photo": PHOTO, "photo_weight": 2.5},
            [drawn, "--photo", shown, "--photo-weight", "2.5"],
        ),
        "like": (((), marked), marked, typed),
        "text": (((), {"text": "umbrella"}), {"text": "umbrella"}, ["--text", "umbrella"]),
        "text and sketch": (
            ({"sketch": sketch()}, {"text": "umbrella", "text_weight": "0.5"}),
            {"sketch": sketch(), "text": "umbrella", "text_weight": 0.5},
            [drawn, "--text", "umbrella", "--text-weight", "0.5"],
        ),
        "refined": (({"sketch": sketch()}, marked), {"sketch": drawn, **marked}, [drawn, *typed]),
    }
    http, client_says, shell = cases[case]
    expected = SearchAnswer.model_validate(search(service, http[0], **http[1]))
    with Client(url) as client:
        while client.ready().status != "ready":
            pass
        answers = [client.search(**client_says)]
    local = ["--gallery", str(shared_gallery), "--checkpoint", str(checkpoint), "--device", "cpu"]
    for where in (["--url", url], local):
        with pytest.raises(SystemExit) as ended:
            main(["search", *map(str, shell), *where, "--json"])
        assert not ended.value.code
        answers.append(SearchAnswer.model_validate(json.loads(capsys.readouterr().out.splitlines()[-1])))
    for answer in answers:
        assert (answer.parts, answer.reranked, answer.total_photos) == (
            expected.parts, expected.reranked, expected.total_photos)  # fmt: skip
        for one, other in zip(answer.results, expected.results, strict=True):
            assert one.photo_id == other.photo_id
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.contributions == pytest.approx(other.contributions, abs=1e-4)


@pytest.mark.parametrize(
    ("shell", "says"),
    [(["--unlike", "a"], "--text, --photo or --like"), (["--like", "a", "--unlike", "a"], "in --unlike")],
)
def test_the_command_line_refuses_what_asks_for_nothing(capsys, shell, says):
    with pytest.raises(SystemExit) as ended:
        main(["search", *shell])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
