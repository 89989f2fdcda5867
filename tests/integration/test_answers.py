"""Every route that answers JSON answers, of a node with something in it, in the form that its description promises."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis

from api.http import role_table
from api.node import Node
from api.references import reference_of
from domain.event import utc_now
from infra.ingest_seals import Taken
from tests.integration.test_feed_http import until
from tests.integration.test_http import did, record, running
from tests.integration.test_schemathesis import LASTING, OF_ANY_FORM, strict
from tests.older import sealed_by_hand

ADA, BEN, EVE, ERASED, NEWER = (f"{name}@example.com" for name in ("ada", "ben", "eve", "gone", "newer"))
OF_NO_FORM = {
    *OF_ANY_FORM,
    *LASTING,
    *("GET /metrics", "GET /v1/feed/docs", "GET /v1/engagement/model", "GET /v1/compliance/policy.toml"),
    *("GET /v1/compliance/erasures/{erasure_id}/certificate", "GET /v1/compliance/candidates/{ref}/export"),
    *("GET /v1/ledger/verification", "GET /v1/export/events.parquet"),
    *("POST /v1/webhooks/{provider}", "POST /v1/webhooks/{provider}/{path_secret}"),
}
"""Not JSON, or in the form of what was asked for."""


class Asking:
    """Asks by the routes' names, and compares each answer with what stands of it in the description."""

    def __init__(self, node: Node, http: httpx.Client) -> None:
        self.node = node
        self.asked: set[str] = set()
        self._http = http
        self._schema: Any = schemathesis.openapi.from_dict(strict(http.get("/openapi.json").json()))

    def __call__(self, route: str, body: Any = None, *, status: int = 200, query: str = "", **named: str) -> Any:
        self.node.wait_for(self.node.ledger.last_seq())
        method, _, path = route.partition(" ")
        place = path.format_map({name: quote(value, safe="") for name, value in named.items()})
        headers = {"Content-Type": "application/json"}
        answer = self._http.request(method, f"{place}?{query}", content=json.dumps(body), headers=headers)
        assert answer.status_code == status, (route, answer.status_code, answer.text)
        operation = self._schema[path][method]
        operation.validate_response(answer)
        self.asked.add(route)
        return answer.json()


def test_every_route_answers_in_the_form_that_is_promised(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (node, http):
        ask = Asking(node, http)
        fill(ask)
        for part in (of_candidates_pools_and_engagement, of_consent_and_requests, of_erasure, of_operating):
            part(ask)
    assert {f"{row.method} {row.path}" for row in role_table.rows()} - ask.asked == OF_NO_FORM


def fill(ask: Asking) -> None:
    """With people, and deliveries that could not be recorded."""
    profile = {"first_name": "Ada", "last_name": "B", "skills": ["go"], "location": "Berlin", "seniority": "senior"}
    ask("POST /v1/interactions", did("sourced", ADA, source="ats", **profile), status=201)
    one = did("tagged", ADA, tag="go")
    ask("POST /v1/interactions", one, status=201)
    ask("POST /v1/interactions", one)
    ask("POST /v1/interactions", [one, {"type": "odd"}, did("replied", ADA, message="m0")])
    consent = {"notice_version": "3", "language": "de", "method": "form", "jurisdiction": "DE"}
    record(
        ask._http,
        did("consent_given", ADA, purpose="recruiting", expires_at="2028-03-01T09:30:00Z", **consent),
        did("emailed", ADA, message="m1", campaign="spring"),
        did("opened", ADA, message="m1", machine=False),
        did("opted_out", ADA, channel="sms"),
        did("sourced", BEN, source="ats"),
        did("sourced", EVE),
        did("sourced", NEWER),
        did("sourced", ERASED),
        did("restricted", ERASED, ground="unlawful"),
    )
    name = f"candidate-{ask.node.recording.resolve(reference_of(NEWER))}"
    key, clear = ask.node.keyring.existing([name])[name], {"occurred_at": "2026-03-02T00:00:00Z", "actor_kind": "user"}
    ask.node.recorder.insert_events([sealed_by_hand(name, 2, "knighted", 1, clear, {"actor": "user:x"}, key)])
    letters = ask.node.intake.letters
    letters.add(Taken("sendgrid", utc_now(), {"x-note": "kept"}, b"[]"), ["nobody knows"])
    letters.add_unknown(Taken("sendgrid", utc_now(), {}, b"\xff"), "odd")


def of_candidates_pools_and_engagement(ask: Asking) -> None:
    rule = {"rule": {"all": [{"tag": "go"}]}}
    ask("POST /v1/pools", {"name": "go"} | rule, status=201)
    ask("PUT /v1/pools/{pool}/rule", rule, pool="go")
    ask("PUT /v1/pools/{pool}/candidates/{ref}", {"place": "pinned"}, pool="go", ref=BEN)
    assert ask("GET /v1/pools")["pools"]
    assert len(ask("GET /v1/pools/{pool}/members", pool="go")["members"]) == 2
    ask("POST /v1/pools/{pool}/archive", {}, pool="go")
    assert ask("GET /v1/candidates/{ref}", ref=ADA)["skills"]
    assert ask("GET /v1/candidates/{ref}/timeline", ref=ADA)["events"]
    assert ask("GET /v1/engagement")["candidates"]
    assert ask("GET /v1/engagement/{ref}", query="explain=true", ref=ADA)["events"]
    ask("GET /v1/engagement/{ref}", ref=ADA)
    model = ask._http.get("/v1/engagement/model").text
    assert ask("POST /v1/engagement/what-if", {"model": model.replace('"v1"', '"v2"')})["candidates"]
    ask("POST /v1/candidates/{ref}/merge", {"into": BEN}, status=201, ref=EVE)
    ask("POST /v1/candidates/{ref}/unmerge", {}, status=201, ref=EVE)


def of_consent_and_requests(ask: Asking) -> None:
    assert ask("GET /v1/compliance/candidates/{ref}/trail", ref=ADA)["events"]
    assert ask("GET /v1/compliance/candidates/{ref}/trail", query="format=ts27560", ref=ADA)["records"]
    assert ask("GET /v1/compliance/candidates/{ref}/evidence", ref=ADA)["events"]
    ask("GET /v1/compliance/candidates/{ref}/contactability", query="channel=email", ref=ADA)
    asked = {"candidate": ADA, "asks_for": "restriction", "request": "e" * 32, "received_at": utc_now().isoformat()}
    made = ask("POST /v1/compliance/requests", asked, status=201)
    ask("POST /v1/compliance/requests", asked)
    of = {"id": made["request"]}
    ask("POST /v1/compliance/requests/{id}/recipients", {"recipient": "ats"}, status=201, **of)
    ask("POST /v1/compliance/requests/{id}/extend", {"reason": "number"}, status=201, **of)
    page = ask("GET /v1/compliance/requests/{id}", **of)
    assert page["recipients"]
    assert len(page["events"]) == 3
    assert ask("GET /v1/compliance/requests")["requests"]
    ask("POST /v1/compliance/requests/{id}/close", {"outcome": "fulfilled"}, status=201, **of)
    assert ask("GET /v1/compliance/findings")["findings"]
    ask("GET /v1/compliance/policy")
    ask("GET /v1/compliance/records-of-processing")
    assert ask("GET /v1/access-log")["records"]
    ask("GET /v1/access-log/verification")


def of_erasure(ask: Asking) -> None:
    until(lambda: _told(ask, "restricted"))
    restricted = _told(ask, "restricted")[0]["event"]["id"]
    made = ask("POST /v1/compliance/erasures", {"candidate": ERASED, "ground": "objection"})
    until(lambda: all(erasure.is_done for erasure in ask.node.erasures.all()))
    assert ask("GET /v1/compliance/erasures")["erasures"]
    assert ask("GET /v1/compliance/erasures/{erasure_id}", erasure_id=made["erasure"])["certified"]
    named = {"identifier": ERASED}
    assert ask("POST /v1/compliance/suppressions/check", named)["suppressed"]
    assert ask("POST /v1/compliance/suppressions/lift", named | {"because": "they applied again"})["lifted"]
    until(lambda: _told(ask, "erased"))
    message = _told(ask, "erased")[0]["event"]["id"]
    ask("POST /v1/feed/acknowledgements", {"recipient": "ats", "id": message}, status=201)
    ask("POST /v1/feed/acknowledgements", {"recipient": "ats", "id": message})
    ask("POST /v1/feed/acknowledgements", {"recipient": "ats", "id": restricted}, status=201)
    kept = ask("GET /v1/feed/acknowledgements")["acknowledgements"]
    assert {one["about"]: one["erasure"] for one in kept} == dict.fromkeys(["erasure", "restriction"], made["erasure"])


def _told(ask: Asking, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask("GET /v1/feed/events", query=f"types=compliance.{what}")["events"]
    return found


def of_operating(ask: Asking) -> None:
    assert ask("GET /healthz")["status"] == "ok"
    ask("GET /readyz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask.node, "unready", lambda: ["no connection to NATS"])
        ask("GET /readyz", status=503)
    ask("GET /v1/status")
    page = ask("GET /v1/dead-letters")
    assert [letter["type"] for letter in page["dead_letters"]] == ["knighted"]
    letters = page["ingest"]
    kinds = ask("GET /v1/webhook-kinds")["kinds"]
    for letter in [*letters, *kinds]:
        ask("GET /v1/dead-letters/{letter}", letter=letter["id"])
    assert ask("POST /v1/dead-letters/retry", {"letters": [letters[0]["id"], "i999"]})["ingest"]
    ask("POST /v1/webhook-providers/{provider}/secrets", {"secret": "x" * 30}, status=201, provider="lever")
    assert ask("GET /v1/webhook-providers")["providers"]
    ask("DELETE /v1/webhook-providers/{provider}", provider="lever")
    ask("GET /v1/sql/catalogue")
    assert ask("GET /v1/export/parts")["parts"]
    ask("POST /v1/subscribers", {"name": "pulls"}, status=201)
    posted = {"name": "posted", "url": "http://127.0.0.1:9/", "allow_private": True, "after": 0}
    ask("POST /v1/subscribers", posted, status=201)
    of = {"name": "posted"}
    until(lambda: ask("GET /v1/subscribers/{name}/deliveries", **of)["deliveries"])
    ask("POST /v1/subscribers/{name}/pause", **of)
    ask("POST /v1/subscribers/{name}/resume", **of)
    ask("POST /v1/subscribers/{name}/rotate", name="pulls")
    assert len(ask("GET /v1/subscribers")["subscribers"]) == 2
    ask("GET /v1/status")
    ask("DELETE /v1/subscribers/{name}", **of)
