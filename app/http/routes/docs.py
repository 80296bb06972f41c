"""GET /docs: the OpenAPI document as a page without scripts: it works offline and under the strictest policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.http.root_path import document_under

router = APIRouter(include_in_schema=False)
description = APIRouter(include_in_schema=False)  # of every application, the probes' own included
_METHODS = ("get", "post", "delete")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Every route with its parameters, bodies, answers and examples."""
    return HTMLResponse(render(_document(request)))


@description.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The document itself, for programs."""
    return JSONResponse(_document(request))


@router.get("/docs/style.css")
async def style() -> Response:
    """The page's style; a file of its own because the policy allows no inline styles."""
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def _document(request: Request) -> dict[str, Any]:
    return document_under(request.app.openapi(), request.scope.get("root_path", ""))


def render(document: dict[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    info = document["info"]
    prefix = document["servers"][0]["url"] if "servers" in document else ""
    operations = [
        _operation(method, prefix + path, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}: interface</title>"
        '<link rel="icon" href="icon.svg"><link rel="stylesheet" href="docs/style.css"></head><body><main>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>{_paragraphs(info['description'])}"
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(operations)}<h2>Shapes</h2>{''.join(schemas)}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</h2>"]
    parts.append(_paragraphs(operation.get("description", "")))
    if operation.get("security"):
        parts.append("<p>Where the service has keys: <code>Authorization: Bearer KEY</code>.</p>")
    if operation.get("parameters"):
        parts.append(
            _table(
                ("Parameter", "In", "Meaning"),
                [(p["name"], p["in"], p.get("description", "")) for p in operation["parameters"]],
            )
        )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Body as <code>{escape(kind)}</code></h3>{_fields(content['schema'])}{_example(content)}")
    answers = [(status, answer.get("description", "")) for status, answer in operation.get("responses", {}).items()]
    parts.append(f"<h3>Answers</h3>{_table(('Status', 'Meaning'), answers)}")
    return f"<section>{''.join(parts)}</section>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    examples = schema.get("examples", [])
    example = _example({"example": examples[0]}) if examples else ""
    return (
        f'<section><h3 id="{escape(name)}"><code>{escape(name)}</code></h3>{_paragraphs(schema.get("description", ""))}'
        f"{_fields(schema)}{example}</section>"
    )


def _fields(schema: dict[str, Any]) -> str:
    rows = [(name, _kind(field), field.get("description", "")) for name, field in schema.get("properties", {}).items()]
    return _table(("Field", "Kind", "Meaning"), rows) if rows else ""


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("format") or field.get("type", "any"))


def _example(content: dict[str, Any]) -> str:
    if "example" not in content:
        return ""
    return f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part)


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; }
main { max-width: 56rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
section { border-top: 1px solid #8886; padding-top: .5rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; overflow-wrap: anywhere; }
pre { padding: .75rem; overflow: auto; background: #8882; border-radius: 6px; }
"""
