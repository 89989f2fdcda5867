"""The feed described: JSON Schemas, an AsyncAPI 3.0 document, and the same as a page.

The document is written here, not by FastStream, which knows one content type for all messages (`application/json`) and
one Python class for each; ours are CloudEvents, whose schemas are made from the events' clear fields.
"""

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from api.http.asking import AskedFirst
from api.http.problems import problem
from api.http.reads import reads_nothing
from api.http.roles import open_to_anybody
from api.node import Node
from domain.published_schemas import VERSION, schemas
from infra.feed import CONTENT_TYPE
from infra.feed_access import API, FEED

OPEN = reads_nothing("what there may be, not what there is") | open_to_anybody(
    "it describes the feed and holds no data"
)

router = APIRouter(route_class=AskedFirst, tags=["feed"])

_DESCRIPTION = (
    "Candidate events for downstream services, in the order of the ledger, each once. Nothing personal is in them: "
    "people are ids without meaning. Within a version types only grow, so ignore what you do not know."
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;"
    "border-bottom:1px solid #ddd}code{font-size:.9em}h2{margin-top:2.5rem}"
)


@router.get("/v1/feed/schemas/{type}/{version}", summary="JSON Schema of a published type", openapi_extra=OPEN)
def schema(request: Request, type: str, version: int) -> Response:
    """What `dataschema` of a message names: the schema of its `data`."""
    node: Node = request.app.state.node
    found = schemas().get(type) if version == VERSION else None
    if found is None:
        return problem(404, "unknown-schema", "there is no published type of this name and version; see /v1/feed/docs")
    named = {"$id": f"{node.feed.public_url}/v1/feed/schemas/{type}/{version}"}
    return JSONResponse(named | found, media_type="application/schema+json")


@router.get("/asyncapi.json", summary="The feed in AsyncAPI 3.0", openapi_extra=OPEN)
def asyncapi(request: Request) -> dict[str, Any]:
    """For generators and catalogues."""
    node: Node = request.app.state.node
    return document(node.feed.public_url, request.app.version, node.feed.stream.prefix)


@router.get("/v1/feed/docs", summary="The feed's types to read", response_class=HTMLResponse, openapi_extra=OPEN)
def docs(request: Request) -> HTMLResponse:
    """One page, without scripts."""
    node: Node = request.app.state.node
    return HTMLResponse(page(node.feed.stream.prefix))


def document(public_url: str, version: str, prefix: str = "feed") -> dict[str, Any]:
    """The AsyncAPI document of a node that subscribers reach at `public_url`."""
    at = urlsplit(public_url)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:rapport:feed",
        "info": {"title": "Rapport feed", "version": version, "description": _DESCRIPTION},
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "nats": {
                "host": "{host}",
                "protocol": "nats",
                "description": (
                    f"The ledger's NATS server, stream {FEED.name} of JetStream, by a durable consumer of one's own: "
                    f"`rapport subscribers add NAME` makes it, with a key, for an API that begins with {API}"
                ),
                "variables": {"host": {"description": "host and port, as the operator gives them"}},
                "security": [{"$ref": "#/components/securitySchemes/nkey"}],
            },
            "sse": {
                "host": at.netloc,
                **({"pathname": at.path} if at.path else {}),
                "protocol": at.scheme,
                "description": "The same as server-sent events; go on with Last-Event-ID",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
        },
        "channels": {type_: _channel(type_, prefix) for type_ in schemas()} | {"sse": _all_as_sse()},
        "operations": {f"send.{type_}": _operation(type_) for type_ in schemas()}
        | {"send.sse": {"action": "send", "channel": {"$ref": "#/channels/sse"}}},
        "components": {
            "securitySchemes": {
                "nkey": {"type": "asymmetricEncryption", "description": "an nkey: its seed signs the server's nonce"},
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a role's token, or the provider's (OIDC)",
                },
            },
            "messages": {type_: _message(type_, schema) for type_, schema in schemas().items()},
            "schemas": {"envelope": _envelope()} | {type_: _embedded(schema) for type_, schema in schemas().items()},
        },
    }


def _channel(type_: str, prefix: str) -> dict[str, Any]:
    return {
        "address": f"{prefix}.{type_}",
        "title": type_,
        "servers": [{"$ref": "#/servers/nats"}],
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"}},
    }


def _all_as_sse() -> dict[str, Any]:
    return {
        "address": "/v1/feed",
        "title": "All of them, as server-sent events",
        "servers": [{"$ref": "#/servers/sse"}],
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in schemas()},
    }


def _operation(type_: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{type_}"},
        "messages": [{"$ref": f"#/channels/{type_}/messages/{type_}"}],
    }


def _message(type_: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "type": {"const": f"rapport.{type_}.v{VERSION}"},
        "data": {"$ref": f"#/components/schemas/{type_}"},
    }
    return {
        "name": type_,
        "title": type_,
        "summary": schema["description"].partition("\n\n")[0],
        "contentType": CONTENT_TYPE,
        "payload": {"allOf": [{"$ref": "#/components/schemas/envelope"}, {"type": "object", "properties": said}]},
    }


def _envelope() -> dict[str, Any]:
    """A CloudEvent 1.0 in structured JSON, with the extension `recordedtime`."""
    text = {"type": "string", "minLength": 1}
    return {
        "description": "CloudEvents 1.0",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text | {"description": "of this message, with `source`"},
            "source": text | {"format": "uri-reference", "description": "the feed"},
            "type": text,
            "subject": text | {"description": "the candidate's id; of a checkpoint the log's name"},
            "time": {"type": "string", "format": "date-time", "description": "when it happened, as claimed"},
            "recordedtime": {"type": "string", "format": "date-time", "description": "when the ledger took it"},
            "datacontenttype": {"const": "application/json"},
            "dataschema": text | {"format": "uri", "description": "JSON Schema of `data`"},
            "data": {"type": "object"},
        },
    }


def _embedded(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in schema.items() if name != "$schema"}


def page(prefix: str) -> str:
    """The types with their fields, as HTML."""
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Rapport feed</title><style>{_STYLE}</style>",
        f"<h1>Rapport feed</h1><p>{escape(_DESCRIPTION)}</p>",
        "<p>Over NATS: <code>rapport subscribers add NAME</code>. Over HTTP: <a href='/v1/feed?after=0'>/v1/feed</a> "
        "(server-sent events). For programs: <a href='/asyncapi.json'>AsyncAPI</a>.</p>",
    ]
    for type_, schema_ in schemas().items():
        parts.append(
            f"<h2 id='{type_}'>{prefix}.{type_}</h2><p>{escape(schema_['description'])}</p>"
            f"<p><a href='/v1/feed/schemas/{type_}/{VERSION}'>JSON Schema</a></p><table>"
            "<tr><th>field<th>what<th>values</tr>"
        )
        for name, field in schema_["properties"].items():
            needed = "" if name in schema_["required"] else " <i>(may be absent)</i>"
            values = ", ".join(map(str, field.get("enum", ()))) or field.get("format") or field.get("type", "")
            meaning = escape(field.get("description", ""))
            parts.append(f"<tr><td><code>{name}</code>{needed}<td>{meaning}<td>{escape(values)}</tr>")
        parts.append("</table>")
    return "".join(parts) + "</html>"
