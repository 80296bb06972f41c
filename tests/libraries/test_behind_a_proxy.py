"""Behind a proxy, under a path of its own: every address in every answer begins with that path."""

import contextlib
import json
import re

import httpx2
import pytest
from starlette.testclient import TestClient

from app.addresses import prefix_of
from app.http.root_path import document_under
from app.main import create_admin_app, create_app
from app.settings import load_settings
from model.errors import ConfigurationError
from tests.app.conftest import LOCAL, WRITE_KEY, encoded, open_client, picture, settings_for, sketch
from tests.app.live import live
from tests.app.reverse_proxy import reverse_proxy
from tests.paths import ROOT

PREFIX = "/tools/seek"
KEY = {"Authorization": f"Bearer {WRITE_KEY}"}
# Addresses from the root of a host, in quotes, parentheses or sentences. `GET /gallery` is the name of an operation,
# which an OpenAPI document gives below its server.
FROM_ROOT = re.compile(r"""(?<!GET )(?<!POST )(?<!DELETE )(?<=["'(\s`>])(/(?!/)[A-Za-z0-9_{][^\s"'`<>)]*)""")
# Words of the documents that are no addresses of this service.
NO_ADDRESS = re.compile(r"/(\*|json)")


# How proxies differ: they strip or not, and name the path themselves or leave it to the setting.
KINDS = pytest.mark.parametrize(
    ("strip", "named"),
    [
        pytest.param(
            strip,
            named,
            id=f"{'strips' if strip else 'keeps'}-{'header' if named else 'setting'}",
            marks=[pytest.mark.slow] * (strip == named),  # two of the four have each of both
        )
        for strip in (True, False)
        for named in (True, False)
    ],
)


@pytest.fixture(scope="module")
def content(tmp_path_factory, network):
    from index_builder import BuildOptions, build_gallery
    from tests.app.conftest import fill

    place = tmp_path_factory.mktemp("proxied")
    build_gallery(fill(place / "photos"), place / "gallery", network, options=BuildOptions(workers=1))
    return place


@contextlib.contextmanager
def proxied(content, network, strip, named, prefix=PREFIX, **changes):
    """A client of a service behind a proxy."""
    settings = settings_for(
        content / "gallery",
        photos=content / "photos",
        write_key=WRITE_KEY,
        root_path="" if named else prefix,
        **{"upload_wait_s": 100, **changes},
    )
    added = {"X-Forwarded-Prefix": prefix} if named else {}
    with (
        live(create_app(settings, network), settings) as port,
        reverse_proxy(port, prefix, strip=strip, headers=added) as url,
        httpx2.Client(base_url=url, timeout=100) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def behind(content, network):
    """Clients of services behind proxies, of which each kind is started once."""
    with contextlib.ExitStack() as stack:
        started = {}

        def client_of(strip, named):
            if (strip, named) not in started:
                started[strip, named] = stack.enter_context(proxied(content, network, strip, named, upload_wait_s=0))
            return started[strip, named]

        yield client_of


def addresses_in(answer):
    """Every address from a host's root in an answer: in its body if that is text, and in its headers."""
    found = [answer.headers[name] for name in ("location", "content-location", "link") if name in answer.headers]
    text = answer.text if re.search("json|html|css|javascript|svg", answer.headers.get("content-type", "")) else ""
    if text.startswith('{"openapi"'):  # its paths are below its server by definition
        document = json.loads(text)
        assert document["servers"] == [{"url": PREFIX}]
        text = json.dumps({**document, "paths": [*document["paths"].values()]})
    found += FROM_ROOT.findall(text)
    return found


@KINDS
def test_every_answer_stays_under_the_path(behind, strip, named):
    client = behind(strip, named)
    found = client.post(f"{PREFIX}/search", files={"sketch": sketch()}).json()["results"]
    photo_id = found[0]["photo_id"]
    assert {one["url"] for one in found} == {f"{PREFIX}/photos/{one['photo_id']}" for one in found}
    assert client.get(found[0]["url"]).headers["content-type"] == "image/png"
    assert client.get(found[0]["thumbnail_url"]).headers["content-type"] == "image/webp"
    new = encoded(picture(9000 + 2 * strip + named))  # a known picture would be answered 200
    added = client.post(f"{PREFIX}/photos", files={"photo": ("a.png", new)}, headers=KEY)
    assert added.status_code == 202
    assert added.headers["location"] == added.json()["url"] == f"{PREFIX}/jobs/{added.json()['job_id']}"
    answers = [
        added,
        client.get(added.headers["location"], headers=KEY),
        *(client.get(f"{PREFIX}{path}") for path in ("", "/", "/index.html", "/docs", "/openapi.json", "/gallery")),
        *(client.get(f"{PREFIX}{path}") for path in ("/docs/style.css", "/css/base.css", "/js/api.js")),
        *(client.get(f"{PREFIX}{path}") for path in ("/icon.svg", "/favicon.ico", "/healthz", "/readyz")),
        *(client.get(f"{PREFIX}{path}") for path in ("/gallery/", "/docs/", "/healthz/", "/photos/x", "/nothing")),
        client.get(f"{PREFIX}/photos/{photo_id}/similar"),
        client.post(f"{PREFIX}/search", files={"sketch": b""}),
        client.put(f"{PREFIX}/search"),
        client.post(f"{PREFIX}/explain", files={"sketch": sketch()}, data={"photo_id": photo_id}),
    ]
    for answer in answers:
        assert answer.status_code != 500
        outside = [one for one in addresses_in(answer) if not f"{one}/".startswith(f"{PREFIX}/")]
        outside = [one for one in outside if not NO_ADDRESS.match(one)]
        assert not outside, (answer.request.method, answer.request.url, outside)


@KINDS
def test_redirects_lead_where_the_client_is(behind, strip, named):
    client = behind(strip, named)
    moved = client.get(f"{PREFIX}/gallery/?a=1", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, f"{PREFIX}/gallery?a=1")
    assert client.get(f"{PREFIX}/docs/", follow_redirects=True).status_code == 200
    page = client.get(PREFIX, follow_redirects=True)
    assert page.status_code == 200
    assert f'src="{PREFIX}/js/main.js"' in page.text
    assert 'href="#results"' in page.text


@KINDS
def test_the_interface_says_where_it_is(behind, strip, named):
    client = behind(strip, named)
    document = client.get(f"{PREFIX}/openapi.json").json()
    page = client.get(f"{PREFIX}/docs").text
    assert document["servers"] == [{"url": PREFIX}]
    assert "/search" in document["paths"]
    assert f"POST {PREFIX}/search" in page


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("prefix", ["/photos", "/gallery", "/search"])
def test_a_path_like_an_address_of_the_service_works_where_it_is_stripped(content, network, prefix, named):
    with proxied(content, network, strip=True, named=named, prefix=prefix) as client:
        found = client.post(f"{prefix}/search", files={"sketch": sketch()}).json()["results"]
        assert client.get(found[0]["url"]).headers["content-type"] == "image/png"
        assert client.get(f"{prefix}/gallery").json()["photos"]
        assert "<html" in client.get(f"{prefix}/").text


def test_such_a_path_is_warned_of(shared_gallery, network, capsys):
    from app.logs import configure_logging

    configure_logging()
    for prefix, warned in (("/photos", True), ("/tools/photos", False)):
        with TestClient(create_app(settings_for(shared_gallery, root_path=prefix), network), base_url=LOCAL):
            pass
        assert ("has to strip" in capsys.readouterr().err) == warned


def test_the_setting_wins_over_what_a_client_sent_through_a_proxy_that_passes_it_on(behind):
    client = behind(strip=True, named=False)
    answer = client.get(f"{PREFIX}/", headers={"X-Forwarded-Prefix": "/evil"})
    assert (answer.status_code, "/evil/" in answer.text) == (200, False)
    assert client.get(f"{PREFIX}/gallery", headers={"X-Forwarded-Prefix": "/evil"}).status_code == 200


def test_the_examples_of_proxies_clear_the_header_that_they_do_not_set():
    page = (ROOT / "docs" / "operations.md").read_text()
    chapter = page[page.index("## Behind a proxy") :].split("\n## ")[0]
    for block in chapter.split("```")[1::2]:
        assert "stripprefix" in block or "X-Forwarded-Prefix" in block, block


def test_a_prefix_is_believed_from_trusted_addresses_only(content, network, monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "203.0.113.9")
    with proxied(content, network, strip=True, named=True) as client:
        document = client.get(f"{PREFIX}/openapi.json").json()
    assert "servers" not in document


@pytest.fixture(scope="module")
def port(shared_gallery, network):
    """Of a service that has no proxy in front."""
    settings = settings_for(shared_gallery)
    with live(create_app(settings, network), settings) as one:
        yield one


@pytest.mark.parametrize(
    "value", ["//evil.example", "/a b", "/<script>", "https://evil.example", "/../x", "/" + "a" * 300]
)
def test_a_prefix_that_could_do_harm_is_passed_over(port, value):
    answer = httpx2.get(f"http://127.0.0.1:{port}/openapi.json", headers={"X-Forwarded-Prefix": value})
    assert answer.status_code == 200
    assert "evil.example/" not in json.dumps(answer.json().get("servers", []))
    assert not any(sign in json.dumps(answer.json().get("servers", [])) for sign in ("//", "<", " b", ".."))


def test_requests_that_do_not_come_through_the_proxy_are_answered_too(shared_gallery, network):
    with open_client(create_app(settings_for(shared_gallery, root_path="seek/"), network)) as client:
        assert client.get("/gallery").json() == client.get("/seek/gallery").json()
        assert client.get("/healthz").status_code == client.get("/seek/healthz").status_code == 200
        text = client.get("/metrics").text
    assert 'route="/healthz"' in text
    assert "/seek" not in text


def test_the_port_of_the_probes_takes_the_path_as_well(shared_gallery, network):
    main = create_app(settings_for(shared_gallery, admin_port=9999, root_path=PREFIX), network)
    with TestClient(main, base_url=LOCAL):
        admin = TestClient(create_admin_app(main), base_url=LOCAL)
        assert admin.get("/healthz").status_code == admin.get(f"{PREFIX}/healthz").status_code == 200
        assert admin.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]


@pytest.mark.parametrize(("text", "prefix"), [("", ""), ("/", ""), ("photos", "/photos"), (" /a/b/ ", "/a/b")])
def test_a_path_is_taken_as_people_write_it(text, prefix):
    assert prefix_of(text) == prefix


@pytest.mark.parametrize("text", ["/a//b", "/a b", "https://x", "/é", "/..", "/a/./b", '/"', "/a\nb", "/a?b", "/%41"])
def test_what_is_no_path_is_refused_in_one_line(text):
    with pytest.raises(ConfigurationError, match=r"^SKETCHSEEK_ROOT_PATH cannot be used: a path has letters"):
        load_settings(root_path=text)


def test_without_a_prefix_the_document_stays_as_it_is():
    document = {"paths": {}, "example": {"url": "/photos/x"}}
    assert document_under(document, "") is document
    assert document_under(document, "/a")["example"] == {"url": "/a/photos/x"}
    assert document == {"paths": {}, "example": {"url": "/photos/x"}}
