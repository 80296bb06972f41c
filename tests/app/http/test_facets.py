"""GET /gallery/facets: the counts beside a search, by every filter that a search takes."""

import pytest


def names(counts):
    return {one["name"]: one["photos"] for one in counts}


def test_facets_of_the_whole_gallery(service):
    facets = service.get("/gallery/facets").json()
    assert facets["photos"] == 13
    assert facets["tags"] == service.get("/gallery").json()["tags"]
    assert names(facets["types"]) == {"png": 13}
    assert names(facets["folders"]) == {"animals": 6, "things": 7}
    assert sum(names(facets["months"]).values()) == 13
    assert sum(names(facets["orientations"]).values()) == 13


def test_each_kind_is_counted_as_if_only_the_others_were_chosen(service):
    asked = [("tag", "things"), ("type", "png"), ("tag_none", "small")]
    facets = service.get("/gallery/facets", params=asked).json()
    assert facets["photos"] == 6
    assert names(facets["tags"]) == {"animals": 6, "things": 6}
    inside = service.get("/gallery/facets", params={"folder": "things"}).json()
    assert (inside["photos"], names(inside["folders"])) == (7, {"things/small": 1})
    assert service.get("/gallery/facets", params={"as_of": facets["as_of"]}).json()["photos"] == 13
    assert service.get("/gallery/facets", params={"as_of": "2020-01-01"}).json()["photos"] == 0
    assert service.get("/gallery/facets", params={"taken_to": "1970-01-01"}).json()["months"] != []


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"tag": "things!"}, "unknown_tag", "No photo has the tag “things!”"),
        ({"tag_none": "nothing"}, "unknown_tag", "“nothing”"),
        ({"folder": "thing"}, "unknown_folder", "No photo lies in the folder “thing”"),
        ({"taken_from": "yesterday"}, "invalid_taken_from", "`taken_from` must be a day such as 2024-06-30."),
        ({"taken_from": "1719700000"}, "invalid_taken_from", "must be a day"),
        ({"taken_from": "2024-06-30", "taken_to": "2024-06-29"}, "invalid_taken_to", "is before `taken_from`"),
        ({"orientation": "round"}, "invalid_orientation", "must be one of 'landscape', 'portrait' or 'square'"),
        ({"type": "jpg"}, "invalid_type", "must be one of 'jpeg', 'png'"),
        ({"as_of": "now"}, "invalid_as_of", "must be a time such as"),
        ({"as_of": "0001-01-01T00:00:00+14:00"}, "invalid_as_of", "must be a time such as"),
        ({"tags": "things"}, "unknown_parameter", "did you mean `tag`?"),
        ([("folder", "things"), ("folder", "animals")], "repeated_parameter", "`folder` is given more than once"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(service, asked, code, said):
    answer = service.get("/gallery/facets", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert said in answer.json()["detail"]
