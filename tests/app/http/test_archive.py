"""Several photos as one ZIP archive."""

import io
import os
import time
import zipfile
from pathlib import Path

import httpx2
import pytest

from app.main import create_app
from app.service.files.zip_pieces import Names
from app.service_errors import BusyError
from index_builder import BuildOptions, build_gallery
from sketchseek_client import Client, ServiceAnswerError
from tests.app.conftest import open_client, picture, service_in, settings_for, wait_until
from tests.app.http.fuzz import running


def ids(client):
    snapshot = service_in(client).gallery.serve().snapshot
    return {snapshot.photo(row).path: snapshot.photo(row).photo_id for row in range(len(snapshot))}


def archive(client, photos):
    answer = client.post("/archive", json={"photos": photos})
    assert answer.status_code == 200, answer.text
    return answer, zipfile.ZipFile(io.BytesIO(answer.content))


def test_it_holds_the_files_as_they_are(service, shared_photos):
    known = ids(service)
    answer, opened = archive(service, [*known.values(), *known.values()])
    assert opened.testzip() is None
    assert {name: opened.read(name) for name in opened.namelist()} == {
        path.rpartition("/")[2]: (shared_photos / path).read_bytes() for path in known
    }
    assert all(entry.compress_type == zipfile.ZIP_DEFLATED for entry in opened.infolist()), "Java reads no other stream"
    assert all(entry.file_size <= entry.compress_size < entry.file_size + 100 for entry in opened.infolist())
    written = time.gmtime((shared_photos / "animals/animals-0.png").stat().st_mtime)
    assert opened.getinfo("animals-0.png").date_time[:5] == tuple(written)[:5]
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="photos.zip"'
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_gone_is_named_and_names_are_safe_and_unique(photos, gallery, network):
    with open_client(create_app(settings_for(gallery), network)) as client:
        known = ids(client)
        gone, strange = known["animals/animals-0.png"], known["things/things-0.png"]
        (photos / "animals/animals-0.png").unlink()
        (photos / "things/things-0.png").unlink()
        (photos / "things/things-0.png").symlink_to("/etc/passwd")
        there = known["animals/animals-1.png"]
        _, opened = archive(client, [gone, there, "no\nsuch", strange])
        assert opened.namelist() == ["animals-1.png", "left-out.txt"]
        lines = opened.read("left-out.txt").decode().splitlines()
        assert [line.split(": ")[0] for line in lines[2:]] == [
            "nosuch",
            f"animals/animals-0.png ({gone})",
            f"things/things-0.png ({strange})",
        ]
        for none, code in (([gone], "photo_gone"), (["none"], "unknown_photo")):
            refused = client.post("/archive", json={"photos": none})
            assert (refused.status_code, refused.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/Cat.JPG", "Cat.JPG"),
        ("cat.jpg", "cat (2).jpg"),
        ("b/CAT.jpg", "CAT (3).jpg"),
        ("..", "photo"),
        ("c:\\..\\x.png", "c__.._x.png"),
        ("d/con.jpg", "photo con.jpg"),
        ("d/.png", "png"),
        ("tab\tand\nline.webp", "tab_and_line.webp"),
        ("e/" + "x" * 300 + ".jpeg", "x" * 150 + ".jpeg"),
        ("e/" + "é" * 300 + ".jpeg", "é" * 125 + ".jpeg"),
        ("cut.123456789 0", "cut.123456789"),
        ("cut.          0", "cut"),
        ("f/-rf.png", "-rf.png"),
        ("trailing. .png", "trailing.png"),
    ],
)
def test_names(path, name):
    names = Names()
    for before in ("a/Cat.JPG", "cat.jpg", "b/CAT.jpg"):
        if before == path:
            break
        names.of(before)
    assert names.of(path) == name


def test_no_name_is_longer_than_file_systems_take():
    names = Names()
    given = [names.of(f"{folder}/" + "花" * 83 + ".jpg") for folder in range(11)]
    assert given[1] == "花" * 82 + " (2).jpg"
    assert given[10] == "花" * 82 + " (11).jpg"
    assert max(len(name.encode()) for name in given) <= 255


def test_it_is_bounded_before_a_file_is_opened(shared_gallery, network, monkeypatch):
    settings = settings_for(shared_gallery, max_archive_photos=3, max_archive_bytes=700)
    with open_client(create_app(settings, network)) as client:
        known = list(ids(client).values())
        monkeypatch.setattr("app.service.files.photo_files.open_photo", lambda *_: pytest.fail("opened"))
        for body, status, code in (
            ({"photos": known[:4]}, 422, "too_many_photos"),
            ({"photos": known[:3]}, 413, "archive_too_large"),
            ({"photos": []}, 422, "invalid_photos"),
            ({"photos": [1]}, 422, "invalid_photos"),
            ({"photo": known[:1]}, 422, "unknown_field"),
        ):
            answer = client.post("/archive", json=body)
            assert (answer.status_code, answer.json()["code"]) == (status, code), body
        assert client.post("/archive", data={"photos": known[0]}).status_code == 415
        limits = client.get("/gallery").json()["limits"]
        assert (limits["max_archive_photos"], limits["max_archive_bytes"]) == (3, 700)


def test_a_file_that_has_grown_does_not_make_it_too_large(photos, gallery, network):
    first = photos / "animals/animals-0.png"
    together = sum((photos / f"animals/animals-{number}.png").stat().st_size for number in range(2))
    with open_client(create_app(settings_for(gallery, max_archive_bytes=together), network)) as client:
        known = ids(client)
        picture(9, (900, 900)).effect_spread(9).save(first)
        _, opened = archive(client, [known[f"animals/animals-{number}.png"] for number in range(2)])
        assert opened.namelist() == ["animals-1.png", "left-out.txt"]


def test_a_client_that_leaves_in_the_middle_leaves_no_file_open(photos, gallery, network):
    large = photos / "animals/animals-0.png"
    os.truncate(large, 50_000_000)
    app = create_app(settings_for(gallery), network)
    with running(app) as url, Client(url) as client:
        while client.ready().status != "ready":
            pass
        found = client.search(strokes=[[[1, 50], [1, 50]]]).results
        photo_ids = [one.photo_id for one in found if one.path == "animals/animals-0.png"]
        with httpx2.stream("POST", f"{url}/archive", json={"photos": photo_ids}) as answer:
            pieces = answer.iter_bytes()  # kept, since the answer is closed with its pieces
            next(pieces)
            assert is_open(large)
        wait_until(lambda: not is_open(large), 10)


def is_open(path):
    handles = Path("/proc/self/fd").iterdir()
    return any(os.path.realpath(handle) == str(path) for handle in handles)


def test_a_folder_that_does_not_answer_costs_two_waits_and_no_other_folder(photos, network, tmp_path, monkeypatch):
    place, tried = tmp_path / "gallery", []
    build_gallery([photos / "animals", photos / "things"], place, network, options=BuildOptions(workers=1))

    async def open_file(open_it, _):
        path = open_it.args[1].path
        tried.append(path)
        if path.startswith("animals/") or path == "things/things-0.png":
            raise BusyError("deadline_exceeded", "late", 1)
        return open_it()

    with open_client(create_app(settings_for(place), network)) as client:
        monkeypatch.setattr(service_in(client), "open_file", open_file)
        known = dict(sorted(ids(client).items()))
        _, opened = archive(client, list(known.values()))
        _, *reasons = opened.read("left-out.txt").decode().split("\n\n")
        left_out = dict(line.split(": ") for line in reasons[0].splitlines())
    there = [path for path in known if path.startswith("things/") and path != "things/things-0.png"]
    assert sorted(opened.namelist()) == sorted([*(path.rpartition("/")[2] for path in there), "left-out.txt"])
    assert tried == [*list(known)[:2], *(path for path in known if path.startswith("things/"))]
    file, folder = (
        f"The {what} in time; try again later."
        for what in ("file could not be opened", "folder animals did not answer")
    )
    gone = [path for path in known if path not in there]
    assert left_out == {f"{path} ({known[path]})": folder if path in gone[2:-1] else file for path in gone}


def test_the_client_keeps_what_is_whole(shared_gallery, shared_photos, network, tmp_path):
    place = tmp_path / "photos.zip"
    with running(create_app(settings_for(shared_gallery), network)) as url, Client(url) as client:
        while client.ready().status != "ready":
            pass
        found = client.search(strokes=[[[1, 50], [1, 50]]], top_k=5).results
        client.archive([one.photo_id for one in found], place)
        with zipfile.ZipFile(place) as opened:
            assert opened.read(found[0].path.rpartition("/")[2]) == (shared_photos / found[0].path).read_bytes()
        before = place.read_bytes()
        with pytest.raises(ServiceAnswerError, match="no photo of that id"):
            client.archive(["none"], place)
    assert [file.name for file in tmp_path.iterdir()] == ["photos.zip"]
    assert place.read_bytes() == before
