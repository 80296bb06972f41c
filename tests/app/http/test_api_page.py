"""Every example of docs/api.md is run: shell with curl, Python, and JavaScript with Node where it is installed."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from app.main import create_app
from sketchseek_client import Client
from tests.app.conftest import WRITE_KEY, encoded, picture, settings_for, sketch
from tests.app.http.fuzz import running
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
DEFAULT_URL = "http://127.0.0.1:8000"
pytestmark = pytest.mark.timeout(300)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def live(gallery, photos, network, tmp_path):
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=60)
    (tmp_path / "sketch.png").write_bytes(sketch())
    for number, name in enumerate(("cat.jpg", "dog.jpg")):
        (tmp_path / name).write_bytes(encoded(picture(300 + number), "JPEG"))
    with running(create_app(settings, network)) as url, Client(url, WRITE_KEY) as client:
        while client.ready().status != "ready":
            time.sleep(0.05)
        yield url, client


def test_every_route_is_on_the_page_in_three_languages():
    routes = create_app(settings_for(Path("gallery"))).openapi()["paths"]
    chapters = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for path in routes:
        last = path.rpartition("/")[2]
        chapter = next(c for c in chapters if f"{path}`" in c.split("\n")[0] or f"`/{last}`" in c.split("\n")[0])
        assert {"bash", "python", "javascript"} <= set(re.findall(r"^```(\w+)$", chapter, re.MULTILINE)), path


def test_every_code_of_an_error_is_on_the_page():
    named = set(re.findall(r"`([a-z_]+)`", PAGE.split("## Errors")[1]))
    source = "\n".join(file.read_text() for file in (ROOT / "app").rglob("*.py"))
    raised = set(re.findall(r'(?:RequestError|AccessError|BusyError)\(\s*"([a-z_]+)"', source))
    assert (
        raised
        - named
        - {"invalid_top_k", "invalid_candidates", "invalid_explain", "invalid_taken_to", "change_failed", "no_photo"}
        == set()
    )


def test_the_shell_examples(live, tmp_path):
    url, client = live
    photo_id = client.search(sketch()).results[0].photo_id
    added = client.add([tmp_path / "cat.jpg"])
    variables = {"PHOTO": photo_id, "ADDED": str(added.photos[0].photo_id), "JOB": added.job_id, "KEY": WRITE_KEY}
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    for block in blocks("bash"):
        script = "set -e\n" + f"URL={url}\n" + block.replace(f"URL={DEFAULT_URL}", "").replace("curl ", "curl -sf ")
        ended = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, check=False
        )
        assert ended.returncode == 0, (block, ended.stderr)
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "thumbnail.webp").read_bytes()[8:12] == b"WEBP"


def test_the_python_examples(live, tmp_path, monkeypatch):
    url, client = live
    monkeypatch.chdir(tmp_path)
    names = {"photo_id": client.search(sketch()).results[0].photo_id}
    for block in blocks("python"):
        code = block.replace(DEFAULT_URL, url).replace("your write key", WRITE_KEY)
        exec(compile(code, "docs/api.md", "exec"), names)  # noqa: S102 - our own page
    opened = names["client"]
    assert isinstance(opened, Client)
    opened.close()


def test_the_javascript_examples(live, tmp_path):
    url, client = live
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    photo_id = client.search(sketch()).results[0].photo_id
    code = "\n".join(blocks("javascript")).replace(DEFAULT_URL, url).replace("your write key", WRITE_KEY)
    start = f"""
import {{ readFileSync }} from "node:fs";
const original = globalThis.fetch;
globalThis.fetch = async (...all) => {{
  const answer = await original(...all);
  if (!answer.ok) throw new Error(`${{all[0]}}: ${{answer.status}} ${{await answer.text()}}`);
  return answer;
}};
const sketchFile = new Blob([readFileSync("sketch.png")]);
const photoFile = new Blob([readFileSync("cat.jpg")]);
const photoId = "{photo_id}";
"""
    (tmp_path / "page.mjs").write_text(start + code)
    ended = subprocess.run([node, "page.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
