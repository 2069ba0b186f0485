"""The API's page for people, drawn from its OpenAPI document; one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;text-transform:capitalize}
details{border:1px solid #d5dae3;border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace}pre{overflow:auto;background:#f4f6f9;padding:.6rem}
.method{display:inline-block;min-width:3.2rem;font-weight:700;text-transform:uppercase}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem .25rem 0;vertical-align:top;border-top:1px solid #e6e9ef}
@media(prefers-color-scheme:dark){body{color:#dde3ec;background:#12161d}details,td,th{border-color:#303846}pre{background:#1b212b}a{color:#7fb2ff}}
"""


def docs_page(document: dict[str, Any]) -> tuple[str, str]:
    """The page, and the Content-Security-Policy that lets its one style sheet through."""
    operations: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                tag = (operation.get("tags") or ["other"])[0]
                operations.setdefault(tag, []).append(_operation(method, path, operation, document))
    sections = "".join(f"<section><h2>{escape(tag)}</h2>{''.join(rows)}</section>" for tag, rows in operations.items())
    info = document["info"]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description') or '')}</p>"
        f'<p>Machine-readable: <a href="/api/openapi.json">/api/openapi.json</a></p>{sections}</body></html>'
    )
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return page, f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}{', required' if p.get('required') else ''}"
        f"</td><td><code>{escape(_type(p.get('schema', {})))}</code></td><td>{escape(p.get('description') or '')}</td></tr>"
        for p in operation.get("parameters", [])
    )
    parameters = f"<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>{rows}</table>" if rows else ""
    answers = "".join(_answer(status, answer, document) for status, answer in operation.get("responses", {}).items())
    return (
        f'<details><summary><span class="method">{method}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary') or '')}</summary><p>{escape(operation.get('description') or '')}</p>"
        f"{parameters}<table><tr><th>Status</th><th>Answer</th></tr>{answers}</table></details>"
    )


def _answer(status: str, answer: dict[str, Any], document: dict[str, Any]) -> str:
    shape = ""
    for content in (answer.get("content") or {}).values() if status.startswith("2") else ():
        schema = _resolved(content.get("schema", {}), document)
        shape = f"<pre>{escape(json.dumps(_sketch(schema, document), indent=2, ensure_ascii=False))}</pre>"
    return f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description') or '')}{shape}</td></tr>"


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _sketch(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """A schema as people would write it down."""
    schema = _resolved(schema, document)
    if "properties" in schema:
        return {name: _sketch(part, document) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_sketch(schema.get("items") or {}, document)]
    return _type(schema)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " | ".join(_type(part) for part in schema[several])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(kind)
    return f"[{_type(schema.get('items') or {})}]" if kind == "array" else str(kind)
