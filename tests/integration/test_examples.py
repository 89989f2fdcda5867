"""The examples in the description of the API are sent to a node as they stand, and are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.integration.test_http import running

NAMED = {"{ref}": "ada@example.com", "{pool}": "Python in Germany"}
ORDER = ["/v1/interactions", "/v1/pools", "/v1/pools/{pool}/rule", "/v1/pools/{pool}/candidates/{ref}"]
MAIN = {
    *("POST /v1/interactions", "POST /v1/pools", "PUT /v1/pools/{pool}/rule", "POST /v1/candidates/{ref}/merge"),
    *("PUT /v1/pools/{pool}/candidates/{ref}", "POST /v1/compliance/requests", "POST /v1/sql"),
    *("POST /v1/compliance/requests/{id}/extend", "POST /v1/compliance/requests/{id}/close"),
}


def examples(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Method, path and body of each, those first that others rest on."""
    paths: list[str] = sorted(document["paths"], key=lambda path: (path not in ORDER, len(path.split("/")), path[::-1]))
    for path in paths:
        for method, operation in document["paths"][path].items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = content.get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            bodies = [example["value"] for example in content.get("examples", {}).values()]
            bodies += document["components"]["schemas"].get(name, {}).get("examples", [])
            yield from ((method.upper(), path, body) for body in bodies)


def test_every_example_is_taken(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (node, http):
        named, sent = dict(NAMED), set()
        for method, path, body in examples(http.get("/openapi.json").json()):
            answer = send(http, method, path, body, named)
            assert answer.status_code in (200, 201), (method, path, answer.text)
            document = answer.json()
            if path == "/v1/interactions":
                assert document.get("status") == "accepted" or document["rejected"] == 0, answer.text
            if path == "/v1/compliance/requests":
                named["{id}"] = document["request"]
                node.wait_for(document["seq"])
            sent.add(f"{method} {path}")
        assert sent >= MAIN


def send(http: httpx.Client, method: str, path: str, body: Any, named: dict[str, str]) -> httpx.Response:
    for part, value in named.items():
        path = path.replace(part, quote(value, safe=""))
    return http.request(method, path, json=body)
