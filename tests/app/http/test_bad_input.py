"""Every way to send something wrong has a code of its own, as problem+json, and never the text of an exception."""

import base64
import io
import json
import struct
import zlib

import pytest
from PIL import Image

from app.logs import configure_logging
from app.main import create_app
from tests.app.conftest import encoded, open_client, picture, service_in, settings_for, sketch

WHITE = encoded(Image.new("L", (64, 64), 255))


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header declares these pixels and whose data hold next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def check(answer, status, code):
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    assert len(document["detail"]) > 10
    assert document["detail"][0] in "`-" or document["detail"][0].isupper()
    assert document["detail"][-1] in ".?"
    assert "Traceback" not in answer.text
    assert "Error" not in document["detail"]
    return document


PICTURES = [
    ("empty file", b"", 422, "empty_file"),
    ("text as an image", b"this is no picture, it is a sentence", 422, "unreadable_image"),
    ("truncated PNG", encoded(picture(1, (300, 300)))[:400], 422, "damaged_image"),
    ("20 000 x 20 000", huge_png(20_000, 20_000), 413, "image_too_large"),
    ("blank", WHITE, 422, "blank_sketch"),
    ("PDF, which is not on the list", encoded(picture(1), "PDF"), 415, "unsupported_image_format"),
]


@pytest.mark.parametrize(("data", "status", "code"), [p[1:] for p in PICTURES], ids=[p[0] for p in PICTURES])
def test_pictures(service, data, status, code):
    check(service.post("/search", files={"sketch": ("x.png", data)}), status, code)
    if code not in ("blank_sketch", "damaged_image"):  # photos may be blank, and those that end early are searched with
        check(service.post("/search", files={"photo": ("x.png", data)}), status, code)


FIELDS = [
    ({"top_k": "0"}, "invalid_top_k"),
    ({"top_k": "-1"}, "invalid_top_k"),
    ({"top_k": "1000000000"}, "invalid_top_k"),
    ({"top_k": "many"}, "invalid_top_k"),
    ({"top_k": "2.5"}, "invalid_top_k"),
    ({"top_k": "20", "candidates": "19"}, "candidates_below_top_k"),
    ({"candidates": "0"}, "invalid_candidates"),
    ({"candidates": "1000000"}, "invalid_candidates"),
    ({"offset": "-1"}, "invalid_offset"),
    ({"offset": "999999"}, "invalid_offset"),
    ({"min_score": "nan"}, "invalid_min_score"),
    ({"min_score": "2"}, "invalid_min_score"),
    ({"rerank": "perhaps"}, "invalid_rerank"),
    ({"expand": "perhaps"}, "invalid_expand"),
    ({"explain": "true", "top_k": "21"}, "invalid_explain"),
    ({"tag": "unheard-of"}, "unknown_tag"),
    ({"topk": "5"}, "unknown_field"),
    ({"top_k": ["5", "6"]}, "repeated_field"),
]


@pytest.mark.parametrize(("fields", "code"), FIELDS, ids=[f"{f[0]}"[:50] for f in FIELDS])
def test_options(service, fields, code):
    check(service.post("/search", files={"sketch": sketch()}, data=fields), 422, code)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"top_k": "0"}, "`top_k` must be at least 1."),
        ({"top_k": "many"}, "`top_k` must be a whole number."),
        ({"top_k": "2.5"}, "`top_k` must be a whole number."),
        ({"top_k": "9" * 5000}, "`top_k` is too large a number."),
        ({"min_score": "7"}, "`min_score` may be at most 1."),
        ({"min_score": "inf"}, "`min_score` may be at most 1."),
        ({"min_score": "high"}, "`min_score` must be a number."),
        ({"rerank": "perhaps"}, "`rerank` must be true or false."),
        ({"tag": ["x"] * 33}, "`tag` may have at most 32 entries."),
    ],
)
def test_a_wrong_value_is_told_in_words(service, fields, detail):
    answer = service.post("/search", files={"sketch": sketch()}, data=fields)
    assert check(answer, 422, f"invalid_{next(iter(fields))}")["detail"] == detail


def test_a_wrong_format_lists_the_right_ones(service):
    answer = service.post("/explain", files={"sketch": sketch()}, data={"photo_id": "x", "format": "video"})
    detail = check(answer, 422, "invalid_format")["detail"]
    assert detail == "`format` must be one of 'json', 'overlay', 'synthesis' or 'attention'."


@pytest.mark.parametrize(
    ("fields", "nearest"),
    [({"topk": "5"}, "top_k"), ({"topK": "5"}, "top_k"), ({"tags": "pets"}, "tag"), ({"quite_another": "1"}, None)],
)
def test_an_unknown_field_is_named_with_the_nearest_known_one(service, fields, nearest):
    (name,) = fields
    in_form = service.post("/search", files={"sketch": sketch()}, data=fields)
    in_json = service.post("/search", json={"strokes": [[[1, 2], [1, 2]]], **fields})
    for answer, first in ((in_form, "sketch"), (in_json, "strokes")):
        document = check(answer, 422, "unknown_field")
        assert (document["field"], document.get("nearest")) == (name, nearest)
        assert f"`{name}`" in document["detail"]
        assert f"`{nearest or first}`" in document["detail"]


def test_an_unknown_field_of_an_explanation_is_named(service):
    answer = service.post("/explain", files={"sketch": sketch()}, data={"photo_id": "x", "fromat": "overlay"})
    assert check(answer, 422, "unknown_field")["nearest"] == "format"


def test_an_unknown_field_is_shown_short_and_printable(service):
    document = check(
        service.post("/search", json={"strokes": [[[1, 2], [1, 2]]], "\n\x1b" + "x" * 500: 1}), 422, "unknown_field"
    )
    assert document["field"] == "x" * 40


UNKNOWN = [
    ("POST", "/search?top_k=5", "top_k", "top_k"),
    ("POST", "/search?topk=5", "topk", "top_k"),
    ("POST", "/search?utm_source=x", "utm_source", None),
    ("POST", "/explain?photo=x", "photo", "photo_id"),
    ("GET", "/photos/x?size=5", "size", None),
    ("GET", "/photos/x/thumbnail?size=5", "size", None),
    ("GET", "/photos/x/similar?topk=5", "topk", "top_k"),
    ("GET", "/gallery?verbose", "verbose", None),
]


@pytest.mark.parametrize(("method", "address", "name", "nearest"), UNKNOWN, ids=[one[1] for one in UNKNOWN])
def test_an_unknown_parameter_is_named_with_the_nearest_known_one(service, method, address, name, nearest):
    document = check(service.request(method, address), 422, "unknown_parameter")
    assert (document["parameter"], document.get("nearest")) == (name, nearest)
    assert f"`{name}`" in document["detail"]
    assert nearest is None or f"`{nearest}`" in document["detail"]


def test_a_parameter_of_the_body_in_the_address_is_sent_to_the_body(service):
    document = check(service.post("/search?top_k=5", files={"sketch": sketch()}), 422, "unknown_parameter")
    assert "in the body" in document["detail"]


def test_a_parameter_given_twice(service):
    check(service.get("/photos/x/similar?top_k=5&top_k=6"), 422, "repeated_parameter")


def test_every_route_of_the_interface_refuses_unknown_parameters(writable):
    document = writable.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["tags"] == ["operations"]:
                continue  # what asks for probes and metrics may have parameters of its own
            address = path.replace("{photo_id}", "x").replace("{job_id}", "x")
            check(writable.request(method, address, params={"nothing_like_it": "1"}), 422, "unknown_parameter")
            assert "422" in operation["responses"], (method, path)


def test_a_file_sent_as_text(service):
    for name in ("sketch", "photo"):
        document = check(service.post("/search", files=[(name, (None, "cat.png"))]), 422, f"no_{name}")
        assert "text" in document["detail"]


def test_no_file(service):
    check(service.post("/search", data={"top_k": "5"}, files={"other": ""}), 422, "unknown_field")
    assert "`sketch`" in check(service.post("/search", files=[("top_k", (None, "5"))]), 422, "no_parts")["detail"]
    check(service.post("/explain", files=[("photo_id", (None, "x"))]), 422, "no_sketch")
    check(service.post("/explain", json={"photo_id": "x"}), 422, "no_sketch")


def test_two_files(service):
    check(service.post("/search", files=[("sketch", sketch()), ("sketch", sketch(1))]), 422, "several_sketches")
    check(service.post("/search", files=[("photo", sketch()), ("photo", sketch(1))]), 422, "several_photos")


def test_a_photo_explains_nothing(service):
    files = [("sketch", sketch()), ("photo", sketch(1))]
    check(service.post("/explain", files=files, data={"photo_id": "x"}), 422, "unknown_field")


def test_a_body_of_30_mb_is_refused_before_it_is_read(service):
    check(service.post("/search", files={"sketch": b"x" * 30_000_000}), 413, "body_too_large")
    for kind in (b"multipart/form-data; boundary=b", b"application/json"):
        answers, reads = stream_to(service, kind, b"", (b"content-length", b"10000001"))
        assert (answers[0]["status"], json.loads(answers[1]["body"])["code"]) == (413, "body_too_large")
        assert reads == 0, "its size was said, so nothing of it is asked for"


def stream_to(service, kind, first, *headers):
    """Send a body that does not end, a megabyte at a time; the answer, and how many pieces were read."""
    sent, answers = [], []

    async def receive():
        sent.append(1)
        return {"type": "http.request", "body": first if len(sent) == 1 else b"x" * 1_000_000, "more_body": True}

    async def send(message):
        answers.append(message)

    everything = [(b"host", b"localhost"), (b"content-type", kind), *headers]
    scope = {"type": "http", "method": "POST", "path": "/search", "raw_path": b"/search", "query_string": b""}
    scope |= {"headers": everything, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http"}
    service.portal.call(service.app, scope, receive, send)
    return answers, len(sent)


def test_a_body_that_does_not_say_its_size_is_counted_as_it_streams(service):
    head = b'--b\r\nContent-Disposition: form-data; name="sketch"; filename="x"\r\n\r\n'
    answers, reads = stream_to(service, b"multipart/form-data; boundary=b", head)
    assert answers[0]["status"] == 413
    assert json.loads(answers[1]["body"])["code"] == "body_too_large"
    assert reads == 11  # ten megabytes are allowed, so what comes after the tenth is never read


STROKES = [
    ("malformed_strokes", []),
    ("malformed_strokes", "lines"),
    ("malformed_strokes", [[]]),
    ("malformed_strokes", [[[1, 2]]]),
    ("malformed_strokes", [[[1, 2], [3]]]),
    ("malformed_strokes", [[[], []]]),
    ("malformed_strokes", [[["a"], ["b"]]]),
    ("malformed_strokes", [[[True], [1]]]),
    ("malformed_strokes", {"0": 1}),
    ("not_finite", [[[1e300], [1]]]),
    ("not_finite", [[[10**400], [1]]]),
    ("too_many_strokes", [[[1, 2], [1, 2]]] * 2001),
    ("too_many_points", [[list(range(100_001)), list(range(100_001))]]),
]


@pytest.mark.parametrize(("code", "strokes"), STROKES, ids=[f"{s[0]} {str(s[1])[:30]}" for s in STROKES])
def test_strokes(service, code, strokes):
    check(service.post("/search", json={"strokes": strokes}), 422, code)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_strokes_with_no_number(service, number):
    body = f'{{"strokes": [[[0, {number}], [0, 1]]]}}'
    check(service.post("/search", content=body, headers={"Content-Type": "application/json"}), 422, "not_finite")


JSON_BODIES = [
    (b"{", 400, "malformed_json"),
    (b"[1]", 400, "malformed_json"),
    (b"\xff\xfe", 400, "malformed_json"),
    (b"[" * 100_000, 400, "malformed_json"),
    (b'{"strokes": [[[1, 2], [1, 2]]], "tag": ["\\ud800"]}', 400, "malformed_json"),
    (b'{"strokes": [[[1, 2], [1, 2]]], "tag": ["\xed\xa0\x80"]}', 400, "malformed_json"),
    (b'{"strokes": [[[1, 2], [1, 2]]], "\\uDfffx": 1}', 400, "malformed_json"),
    ('{"strokes": [[[1, 2], [1, 2]]], "tag": ["\ud800"]}'.encode("utf-16-le", "surrogatepass"), 400, "malformed_json"),
    (b'{"strokes": [[[1, 2], [1, 2]]], "tag": ["\\ud83d\\ude00"]}', 422, "unknown_tag"),
    (b"{}", 422, "no_parts"),
    (b'{"unlike": ["a"]}', 422, "no_parts"),
    (json.dumps({"strokes": [[[1, 2], [1, 2]]], "sketch_weight": 0}).encode(), 422, "no_parts"),
    (json.dumps({"like": ["a"], "like_weight": 0}).encode(), 422, "no_parts"),
    (json.dumps({"like": ["a", "b"], "unlike": ["b"]}).encode(), 422, "like_and_unlike"),
    (b'{"text": "a red umbrella"}', 422, "text_not_supported"),
    (b'{"text": " "}', 422, "invalid_text"),
    (b'{"text": "' + b"word " * 100 + b'"}', 422, "invalid_text"),
    (b'{"text": 7}', 422, "invalid_text"),
    (b'{"text": "a", "text_weight": 0}', 422, "no_parts"),
    (b'{"text": "a", "explain": true}', 422, "invalid_explain"),
    (b'{"like": ["a"]}', 404, "unknown_photo"),
    (json.dumps({"strokes": [[[1, 2], [1, 2]]], "unlike": ["a"]}).encode(), 404, "unknown_photo"),
    (b'{"like": "a"}', 422, "invalid_like"),
    (b'{"like": [""]}', 422, "invalid_like"),
    (json.dumps({"like": ["a" * 65]}).encode(), 422, "invalid_like"),
    (json.dumps({"like": ["a"] * 33}).encode(), 422, "invalid_like"),
    (b'{"like": ["a"], "like_weight": 10.5}', 422, "invalid_like_weight"),
    (b'{"like": ["a"], "like_weight": "1"}', 422, "invalid_like_weight"),
    (b'{"like": ["a"], "explain": true}', 422, "invalid_explain"),
    (json.dumps({"photo": "https://127.0.0.1/photo.jpg"}).encode(), 422, "malformed_photo"),
    (json.dumps({"photo": "data:image/png;base64,"}).encode(), 422, "empty_file"),
    (json.dumps({"strokes": [[[1], [1]]], "image": "data:,"}).encode(), 422, "several_sketches"),
    (json.dumps({"image": "http://127.0.0.1/photo.png"}).encode(), 422, "malformed_image"),
    (json.dumps({"image": "file:///etc/hostname"}).encode(), 422, "malformed_image"),
    (json.dumps({"image": "data:image/png;base64,@@"}).encode(), 422, "malformed_image"),
    (json.dumps({"image": "http://127.0.0.1/photo.png;base64,iVBORw0KGgo="}).encode(), 422, "malformed_image"),
    (json.dumps({"image": 7}).encode(), 422, "malformed_image"),
    (json.dumps({"image": "data:image/png;base64,"}).encode(), 422, "empty_file"),
    (json.dumps({"strokes": [[[1, 2], [1, 2]]], "top_k": "5"}).encode(), 422, "invalid_top_k"),
    (json.dumps({"strokes": [[[1, 2], [1, 2]]], "tag": "things"}).encode(), 422, "invalid_tag"),
    (json.dumps({"strokes": [[[1, 2], [1, 2]]], "colour": 1}).encode(), 422, "unknown_field"),
]


@pytest.mark.parametrize(("body", "status", "code"), JSON_BODIES, ids=[str(b[0][:40]) for b in JSON_BODIES])
def test_json(service, body, status, code):
    check(service.post("/search", content=body, headers={"Content-Type": "application/json"}), status, code)


def test_a_blank_sketch_as_a_data_uri(service):
    image = "data:image/png;base64," + base64.b64encode(WHITE).decode()
    check(service.post("/search", json={"image": image}), 422, "blank_sketch")


FORMS = [
    (b"no form at all", "multipart/form-data; boundary=b", 400, "malformed_form"),
    (b"", "multipart/form-data", 400, "malformed_form"),
    (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400, "malformed_form"),
    (b"sketch=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (sketch(), "image/png", 415, "unsupported_media_type"),
    (b"", "", 415, "unsupported_media_type"),
]


@pytest.mark.parametrize(("body", "kind", "status", "code"), FORMS, ids=[f"{f[1]} {f[0][:10]!r}" for f in FORMS])
def test_forms(service, body, kind, status, code):
    check(service.post("/search", content=body, headers={"Content-Type": kind}), status, code)


@pytest.mark.parametrize("path", ["", "/thumbnail", "/similar"])
@pytest.mark.parametrize("photo_id", ["x", "a" * 26, "..%2f..%2fetc%2fpasswd", "%00", "ü", "a" * 5000])
def test_unknown_photos(service, path, photo_id):
    answer = service.get(f"/photos/{photo_id}{path}")
    check(answer, 404, "not_found" if "%2f" in photo_id else "unknown_photo")


def test_similar_checks_top_k(service):
    known = service.post("/search", files={"sketch": sketch()}).json()["results"][0]["photo_id"]
    for wrong in ("0", "-1", "1000000000", "x"):
        check(service.get(f"/photos/{known}/similar", params={"top_k": wrong}), 422, "invalid_top_k")


def test_addresses_and_methods_that_do_not_exist(service):
    check(service.get("/nothing/here"), 404, "not_found")
    refused = service.get("/search")
    check(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
    assert service.put("/photos/x").headers["allow"] == "DELETE, GET, HEAD"


def test_a_defect_is_a_500_that_says_nothing_but_the_request_id(shared_gallery, network, monkeypatch, capsys):
    configure_logging()
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        searcher = service_in(client).gallery.serve().searcher
        monkeypatch.setattr(type(searcher), "rerank", lambda *_: 1 / 0)
        answer = client.post("/search", files={"sketch": sketch()})
        document = check(answer, 500, "internal_error")
        assert "zero" not in answer.text
        monkeypatch.undo()
        assert client.post("/search", files={"sketch": sketch()}).status_code == 200
        scraped = client.get("/metrics").text
    assert 'sketchseek_problems_total{code="internal_error"} 1.0' in scraped
    assert document["title"] == "Internal Server Error"
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (defect,) = [line for line in logged if line["event"] == "request failed"]
    assert defect["request_id"] == document["request_id"]
    assert defect["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_many_frames_and_modes_are_read_as_one_picture(service):
    frames = [Image.new("RGB", (32, 32), (i, i, i)) for i in range(200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert service.post("/search", files={"sketch": buffer.getvalue()}).status_code in (200, 422)
