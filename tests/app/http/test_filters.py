"""The filters of a search: the same answer in a form, in JSON, by the client and by the command line; and bad ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.cli import main
from app.main import create_app
from sketchseek_client import Client
from tests.app.conftest import settings_for, sketch
from tests.app.http.fuzz import running

STROKES = [[[10, 60, 60, 10, 10], [10, 10, 60, 60, 10]]]
ALL: dict[str, Any] = {
    "tag": ["things", "animals"],
    "tag_all": ["things"],
    "tag_none": ["small"],
    "taken_from": "2020-01-01",
    "taken_to": "2100-12-31",
    "orientation": "landscape",
    "folder": "things",
    "type": ["png", "jpeg"],
    "collapse": True,
}


def searched(service, form: dict[str, Any]):
    data = {name: str(value).lower() if isinstance(value, bool) else value for name, value in form.items()}
    return service.post("/search", files={"sketch": sketch()}, data=data)


@pytest.mark.parametrize(
    ("asked", "photos"),
    [
        ({"tag_all": ["things", "small"]}, 1),
        ({"tag_none": ["things"]}, 6),
        ({"tag": ["animals", "small"], "tag_none": ["animals"]}, 1),
        ({"taken_to": "2020-01-01"}, 0),
        ({"orientation": "portrait"}, 0),
        ({"folder": "things/"}, 7),
        ({"type": ["jpeg", "gif"]}, 0),
        ({"as_of": "2020-01-01T00:00:00Z"}, 0),
        (ALL, 6),
    ],
)
def test_each_filter_decides_what_is_searched(service, asked, photos):
    form = searched(service, asked).json()
    assert form["total_photos"] == photos
    assert service.post("/search", json={"strokes": STROKES, **asked}).json()["total_photos"] == photos
    params = {name: value for name, value in asked.items() if name != "collapse"}
    assert service.get("/gallery/facets", params=params).json()["photos"] == photos


def as_options(asked: dict[str, Any]) -> list[str]:
    """The options of the command line."""
    words: list[str] = []
    for name, values in asked.items():
        for value in values if isinstance(values, list) else [values]:
            words += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    return words


def groups_of(answer: dict[str, Any]) -> list[list[str]]:
    """The ids of each group of near-identical results. The network of the tests tells few photos apart."""
    for one in answer["results"]:
        assert one["count"] == 1 + len(one["duplicates"])
    groups = [[one, *one["duplicates"]] for one in answer["results"]]
    return [sorted(photo["photo_id"] for photo in group) for group in groups]


@pytest.fixture
def run(tmp_path, shared_gallery, checkpoint):
    """Search by the command line, in the gallery itself or by a service."""
    (tmp_path / "sketch.png").write_bytes(sketch())

    def call(*options: str, url: str | None = None) -> object:
        here = ["--gallery", str(shared_gallery), "--checkpoint", str(checkpoint), "--device", "cpu"]
        with pytest.raises(SystemExit) as ended:
            main(["search", str(tmp_path / "sketch.png"), *options, *(here if url is None else ["--url", url])])
        return ended.value.code

    return call


def test_client_and_command_line_find_the_same(shared_gallery, network, run, capsys):

    def by_command(url: str | None = None):
        assert run(*as_options(ALL), "--json", url=url) in (0, None)
        lines = capsys.readouterr().out.splitlines()  # the service's log lies between
        return json.loads(next(line for line in lines if line.startswith("{")))

    with running(create_app(settings_for(shared_gallery), network)) as url, Client(url) as client:
        while client.ready().status != "ready":
            pass
        given = {"tags": ALL["tag"], "types": ALL["type"], **{k: v for k, v in ALL.items() if k not in ("tag", "type")}}
        answer = client.search(sketch(), **given)
        remote = by_command(url)
        capsys.readouterr()
    local = by_command()
    assert answer.total_photos == 6
    expected = groups_of(answer.model_dump())
    assert sum(map(len, expected)) == 6
    for found in (remote, local):
        assert groups_of(found) == expected
        assert found["as_of"] == answer.as_of
    assert remote["results"][0]["duplicates"] == [] or remote["results"][0]["duplicates"][0]["url"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"tag_none": ["unheard-of"]}, "unknown_tag"),
        ({"folder": "nowhere"}, "unknown_folder"),
        ({"taken_from": "1st of June"}, "invalid_taken_from"),
        ({"taken_from": "2024-06-30", "taken_to": "2024-06-29"}, "invalid_taken_to"),
        ({"orientation": "round"}, "invalid_orientation"),
        ({"type": ["exe"]}, "invalid_type"),
        ({"type": ["png"] * 33}, "invalid_type"),
        ({"as_of": "later"}, "invalid_as_of"),
        ({"collapse": "perhaps"}, "invalid_collapse"),
        ({"tags_all": ["things"]}, "unknown_field"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(service, asked, code):
    for answer in (searched(service, asked), service.post("/search", json={"strokes": STROKES, **asked})):
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_json_takes_no_numbers_for_days(service):
    for name, value in (("taken_from", 1719700000), ("as_of", 1719700000), ("taken_to", True), ("folder", 7)):
        answer = service.post("/search", json={"strokes": STROKES, name: value})
        assert (answer.status_code, answer.json()["code"]) == (422, f"invalid_{name}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--type", "exe"], "--type takes jpeg, png"),
        (["--orientation", "round"], "--orientation takes landscape"),
        (["--taken-from", "2024-06-30", "--taken-to", "2024-06-29"], "--taken-to is before --taken-from"),
        (["--taken-from", "June"], "--taken-from"),
        (["--folder", "nowhere"], "no photo lies in the folder 'nowhere'"),
        (["--tag-none", "unheard-of"], "no photo has the tag 'unheard-of'"),
    ],
)
def test_the_command_says_what_is_wrong(options, said, run, capsys):
    assert run(*options)
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
