"""The client against a running service, and beside a project's own packages."""

import os
import subprocess
import sys

import pytest

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
