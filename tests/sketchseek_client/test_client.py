"""The client against a running service, and beside a project's own packages."""

import asyncio
import inspect
import io
import os
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from PIL import Image

from app.http.requests.explain_options import ExplainOptions
from app.http.requests.search_options import SearchOptions
from app.main import create_app
from sketchseek_client import (
    AsyncClient,
    Client,
    ClientError,
    SearchArguments,
    ServiceAnswerError,
    ServiceUnreachableError,
)
from tests.app.conftest import READ_KEY, WRITE_KEY, encoded, picture, settings_for, sketch
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
        with_photo = client.search(strokes=STROKES, photo=sketch(4), top_k=2)
        assert with_photo.parts == {"sketch": 1.0, "photo": 1.0}
        for wrong in ({}, drawings[0] | drawings[1]):
            with pytest.raises(ValueError, match="give `sketch`"):
                client.search(**wrong)
            with pytest.raises(ValueError, match="`sketch` or `strokes`"):
                client.explain(photo_id="x", **{"sketch": None, **wrong})


def test_it_takes_every_field_of_a_request():
    """Under the same name, apart from three."""
    own = {"tag": "tags", "type": "types", "format": "kind"}
    search, explain = set(SearchArguments.__annotations__), set(inspect.signature(Client.explain_picture).parameters)
    for options, taken in ((SearchOptions, search), (ExplainOptions, explain)):
        pictures = {"self", "sketch", "strokes", "photo"}
        assert taken - pictures == {own.get(name, name) for name in options.model_fields}


@pytest.mark.parametrize(("timeout_s", "read_s"), [(8.0, 45.0), (60.0, 60.0), (None, None)])
def test_events_wait_out_the_silence_of_the_service(timeout_s, read_s):
    """Between its signs of life the service is silent for 15 seconds, which is no reason to give it up."""
    limits = []

    def note(request):
        limits.append(request.extensions["timeout"])
        return httpx2.Response(200, text=": ping\n")

    async def listen():
        async with AsyncClient("http://there", timeout_s=timeout_s, transport=transport) as client:
            assert [event async for event in client.events()] == []

    transport = httpx2.MockTransport(note)
    with Client("http://there", timeout_s=timeout_s, transport=transport) as client:
        assert list(client.events()) == []
    asyncio.run(listen())
    assert limits == [{**dict.fromkeys(("connect", "write", "pool"), timeout_s), "read": read_s}] * 2


def test_a_photo_in_a_bucket_is_fetched_there_without_the_key():
    seen = []

    def answer(request):
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "there":
            return httpx2.Response(307, headers={"Location": "http://bucket/photo.jpg?signature=x"})
        return httpx2.Response(200, content=b"the photo")

    transport = httpx2.MockTransport(answer)
    with Client("http://there", key="a-key", transport=transport) as client:
        assert client.photo("a" * 26) == b"the photo"

    async def fetch():
        async with AsyncClient("http://there", key="a-key", transport=transport) as client:
            return await client.photo("a" * 26)

    assert asyncio.run(fetch()) == b"the photo"
    assert seen == [("there", "Bearer a-key"), ("bucket", None)] * 2


def test_the_asynchronous_client_has_the_same_methods():
    def methods(client):
        return {name for name in vars(client) if not name.startswith("_")}

    assert methods(AsyncClient) == methods(Client)
    for name in methods(Client):
        one, other = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
        assert one.parameters == other.parameters
        asynchronous = getattr(AsyncClient, name)
        if name == "events":
            assert inspect.isasyncgenfunction(asynchronous)
        else:
            assert one == other
            assert inspect.iscoroutinefunction(asynchronous)


def test_the_asynchronous_client_gives_the_same_answers(gallery, photos, network, tmp_path):
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=60)
    new = tmp_path / "new.png"
    new.write_bytes(encoded(picture(400)))

    async def ask(url):
        async with AsyncClient(url, WRITE_KEY) as client:
            while (await client.ready()).status != "ready":
                await asyncio.sleep(0.05)
            found = await asyncio.gather(
                client.search(sketch(), top_k=3), client.search(strokes=STROKES, tags=["small"])
            )
            first = found[0].results[0].photo_id
            pictures = (
                await client.photo(first),
                await client.thumbnail(first),
                await client.explain_picture(sketch(), first),
            )
            shown = await client.explain(sketch(), first), await client.similar(first, 3), await client.gallery()
            added = await client.add([new])
            assert (await client.job(added.job_id)).status == "done"
            deleted = await client.delete(str(added.photos[0].photo_id))
            assert deleted.job is None
            assert deleted.gallery_version == (await client.gallery()).version != added.gallery_version
            await client.search(sketch(), min_version=deleted.gallery_version)
            with pytest.raises(ServiceAnswerError) as refused:
                await client.search(sketch(), tags=["unheard-of"])
            assert refused.value.code == "unknown_tag"
            await client.reload()
            await client.accept_loss()
            return found, pictures, shown

    with running(create_app(settings, network)) as url:
        found, pictures, shown = asyncio.run(ask(url))
        with Client(url, WRITE_KEY) as client:
            first = found[0].results[0].photo_id
            alone = client.search(sketch(), top_k=3), client.search(strokes=STROKES, tags=["small"])
            for together, one in zip(found, alone, strict=True):
                assert [result.photo_id for result in together.results] == [result.photo_id for result in one.results]
            assert pictures == (client.photo(first), client.thumbnail(first), client.explain_picture(sketch(), first))
            assert shown[0].correspondences == client.explain(sketch(), first).correspondences
            assert shown[1].results == client.similar(first, 3).results
            assert shown[2].photos == client.gallery().photos

    async def unreachable():
        async with AsyncClient(url) as client:
            await client.gallery()

    with pytest.raises(ServiceUnreachableError, match="sketchseek serve"):
        asyncio.run(unreachable())


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
