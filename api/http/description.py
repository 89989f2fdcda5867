"""What the API says of itself in `/openapi.json`, beside what FastAPI finds out."""

from typing import Any

from fastapi import FastAPI

from api.http.answers.relationships import InteractionOutcomes, Recorded
from api.http.roles import BEARER
from api.http.streaming import NDJSON
from domain.interaction import Interaction

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "A refusal (RFC 9457). `type` is stable; `detail` is one sentence, for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:rapport:problem:[a-z0-9-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "minLength": 1},
    },
}

_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "refused: nothing was done", "content": _CONTENT},
    "5XX": {"description": "a fault, or something is away; `Retry-After` says when to ask again", "content": _CONTENT},
}
"""For `responses` of every route."""


_SCHEMAS = "#/components/schemas/{model}"
_INTERACTION = Interaction.model_json_schema(ref_template=_SCHEMAS)
_INTERACTION_REFERS_TO: dict[str, Any] = _INTERACTION.pop("$defs")
_OUTCOMES_SCHEMA = InteractionOutcomes.model_json_schema(ref_template=_SCHEMAS)
_OUTCOMES_REFER_TO: dict[str, Any] = _OUTCOMES_SCHEMA.pop("$defs")
_ONE = {"$ref": _SCHEMAS.format(model="Interaction")}
_EXAMPLES: dict[str, Any] = {
    "sourced": {
        "id": "crm-4711",
        "type": "sourced",
        "candidate": {"email": "ada@example.com"},
        "occurred_at": "2026-03-01T09:30:00Z",
        "source": "meetup",
        "data": {"first_name": "Ada", "last_name": "Berners", "location": "Berlin, Germany"},
    },
    "opted_out": {
        "id": "crm-4712",
        "type": "opted_out",
        "candidate": {"email": "ada@example.com"},
        "occurred_at": "2026-03-02T10:00:00+01:00",
        "channel": "email",
        "actor": "candidate:self",
        "data": {"method": "one_click"},
    },
    "several": [
        {
            "id": "crm-4713",
            "type": "sourced",
            "candidate": {"email": "a.berners@example.com", "ref": "greenhouse:123"},
            "occurred_at": "2026-03-03T09:30:00Z",
            "source": "career_site",
        },
        {
            "id": "crm-4714",
            "type": "tagged",
            "candidate": {"ref": "greenhouse:123"},
            "occurred_at": "2026-03-03T09:31:00Z",
            "data": {"tag": "python"},
        },
    ],
}
_RECORDED, _SEVERAL = ({"$ref": _SCHEMAS.format(model=model.__name__)} for model in (Recorded, InteractionOutcomes))
_OUTCOMES = {"description": "recorded, or known already; of several, what became of each"}
INTERACTIONS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_ONE, {"type": "array", "items": _ONE}]},
                "examples": {name: {"value": value} for name, value in _EXAMPLES.items()},
            },
            NDJSON: {"schema": {"type": "string", "description": "an interaction a line"}},
        },
    },
    "responses": {
        "200": _OUTCOMES | {"content": {"application/json": {"schema": {"anyOf": [_RECORDED, _SEVERAL]}}, NDJSON: {}}},
        "201": {"description": "recorded", "content": {"application/json": {"schema": _RECORDED}}},
    },
}
"""For `openapi_extra` of the route that reads its body by itself."""


def describe(app: FastAPI) -> None:
    """Adds what `security` and the refusals in the routes' descriptions refer to."""
    described = app.openapi

    def whole() -> dict[str, Any]:
        document = described()
        components = document.setdefault("components", {})
        own = {"Problem": PROBLEM, "Interaction": _INTERACTION, "InteractionOutcomes": _OUTCOMES_SCHEMA}
        own |= _INTERACTION_REFERS_TO | _OUTCOMES_REFER_TO
        components.setdefault("schemas", {}).update(own)
        bearer = {"type": "http", "scheme": "bearer", "description": "a role's token, or the identity provider's"}
        components.setdefault("securitySchemes", {})[BEARER] = bearer
        return document

    app.openapi = whole  # type: ignore[method-assign]  # as FastAPI documents it
