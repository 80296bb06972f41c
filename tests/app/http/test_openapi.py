"""The OpenAPI document is part of the interface: a snapshot shows every change of it in review.

To take a changed document over: python -m tests.app.http.test_openapi
"""

import json
from html import escape
from importlib import import_module
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import load_settings

SNAPSHOT = Path(__file__).with_name("openapi.json")


def document():
    values = create_app(load_settings()).openapi()
    values["info"]["version"] = "0"
    return values


@pytest.fixture(scope="module")
def openapi():
    return document()


def operations(openapi):
    return [(m, path, one) for path, item in openapi["paths"].items() for m, one in item.items()]


def test_the_document_is_the_one_in_the_snapshot(openapi):
    assert openapi == json.loads(SNAPSHOT.read_text()), "see this module's first lines"


def test_every_operation_says_what_it_is_for(openapi):
    names = [one["operationId"] for _, _, one in operations(openapi)]
    assert len(set(names)) == len(names)
    for method, path, one in operations(openapi):
        assert one["summary"], (method, path)
        assert one["description"], (method, path)


def test_every_body_has_an_example(openapi):
    for method, path, one in operations(openapi):
        for kind, content in one.get("requestBody", {}).get("content", {}).items():
            assert "example" in content, (method, path, kind)


def test_every_json_answer_has_an_example_that_fits_its_schema(openapi):
    jsonschema = import_module("jsonschema")
    for method, path, one in operations(openapi):
        for status, answer in one["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if "json" not in kind:
                    continue
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                example = content.get("example") or openapi["components"]["schemas"][name].get("example")
                assert example, (method, path, status)
                if kind == "application/json":
                    schema = {"$ref": f"#/components/schemas/{name}", "components": openapi["components"]}
                    jsonschema.validate(example, schema)


def test_errors_are_problem_documents(openapi):
    for method, path, one in operations(openapi):
        for status, answer in one["responses"].items():
            if status >= "400" and path != "/readyz":
                assert "application/problem+json" in answer["content"], (method, path, status)


def test_the_document_is_served(service):
    served = service.get("/openapi.json").json()
    served["info"]["version"] = "0"
    assert served == document()


def test_the_page_of_the_interface_shows_every_route(service, openapi):
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for method, path, one in operations(openapi):
        assert f"<code>{method.upper()} {path}</code> {escape(one['summary'])}" in page.text
    assert service.get("/docs/style.css").headers["content-type"].startswith("text/css")


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(document(), indent=1, sort_keys=True) + "\n")
