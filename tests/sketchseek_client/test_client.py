"""The client against a running service, and beside a project's own packages."""

import inspect
import io
import os
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from app.http.requests.explain_options import ExplainOptions
from app.http.requests.search_options import SearchOptions
from app.main import create_app
from sketchseek_client import Client, ClientError, ServiceAnswerError, ServiceUnreachableError
from tests.app.conftest import READ_KEY, encoded, picture, settings_for, sketch
from tests.app.http.fuzz import running
from tests.paths import ROOT


def test_it_raises_what_the_service_said(shared_gallery, network):
    with running(create_app(settings_for(shared_gallery, read_key=READ_KEY), network)) as url:
        with Client(url, READ_KEY) as client:
            while client.ready().status != "ready":
                pass
            found = client.search(sketch(), top_k=3, tags=["things", "small"], min_score=-1, rerank=False, expand=False)
            assert found.total_photos == 7
            identity = found.results[0].photo_id
            whole, screen = client.photo(identity), client.photo(identity, rendition="screen")
            assert (whole[1:4], screen[8:12]) == (b"PNG", b"WEBP")
            assert client.explain(sketch(), found.results[0].photo_id).correspondences
            with pytest.raises(ServiceAnswerError) as caught:
                client.search(encoded(picture(1).point(lambda _: 255)))
            assert (caught.value.code, caught.value.status) == ("blank_sketch", 422)
            assert caught.value.request_id
            with pytest.raises(ServiceAnswerError, match="no write key"):
                client.reload()
        with Client(url) as stranger, pytest.raises(ServiceAnswerError) as refused:
            stranger.gallery()
        assert refused.value.code == "key_required"
    with Client(url) as client, pytest.raises(ServiceUnreachableError, match="sketchseek serve") as silent:
        client.gallery()
    assert isinstance(silent.value, ClientError)


STROKES = [[[10, 60, 60, 10, 10], [10, 10, 60, 60, 10]]]


def test_a_drawing_searches_and_explains_in_every_way(shared_gallery, network):
    with running(create_app(settings_for(shared_gallery), network)) as url, Client(url) as client:
        while client.ready().status != "ready":
            pass
        drawings: list[dict[str, Any]] = [{"sketch": sketch()}, {"strokes": STROKES}]
        for drawing in drawings:
            explained = client.search(**drawing, top_k=2, explain=True)
            assert all(one.correspondences for one in explained.results)
            assert explained.timings_ms.explain is not None
            first, second = client.search(**drawing, top_k=2).results
            assert first.correspondences is None
            asked = {"sketch": None, **drawing}
            assert client.explain(photo_id=first.photo_id, **asked).photo_id == first.photo_id
            overlay = client.explain_picture(photo_id=first.photo_id, **asked)
            assert Image.open(io.BytesIO(overlay)).format == "PNG"
            ids = [first.photo_id, second.photo_id]
            own = {client.explain_picture(photo_id=one, kind="synthesis", **asked) for one in ids}
            universal = {client.explain_picture(photo_id=one, kind="synthesis", among=ids, **asked) for one in ids}
            assert (len(own), len(universal)) == (2, 1), "pieces of both photos make one picture, whichever was opened"
        for wrong in ({}, drawings[0] | drawings[1]):
            with pytest.raises(ValueError, match="either `sketch` or `strokes`"):
                client.search(**wrong)


def test_it_takes_every_field_of_a_request():
    """Under the same name, apart from two."""
    own = {"tag": "tags", "format": "kind"}
    for options, method in ((SearchOptions, Client.search), (ExplainOptions, Client.explain_picture)):
        taken = set(inspect.signature(method).parameters) - {"self", "sketch", "strokes"}
        assert taken == {own.get(name, name) for name in options.model_fields}


def test_it_can_be_imported_beside_packages_of_the_same_names_as_ours(tmp_path):
    """A project with an `app/` of its own shadows ours, and the client must not need it."""
    for name in ("app", "model", "index_builder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("own = True\n")
    code = (
        "import app, model, index_builder\n"
        "from sketchseek_client import Client, ServiceAnswerError\n"
        "assert app.own and model.own and index_builder.own\n"
        "Client('http://127.0.0.1:9').close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
