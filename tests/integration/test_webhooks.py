"""Webhooks on a running node: what comes through the door is in the ledger once, and what is not theirs is nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from eventsourcing.persistence import DataError, OperationalError
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from api.http.roles import Role, Tokens
from api.node import Node
from api.reception import SHORT_BYTES
from consumers import ingest as consuming
from consumers import keeping, settling, trying
from consumers.webhooks import ses
from consumers.webhooks.delivery import Delivery
from consumers.webhooks.registry import PROVIDERS
from infra import ingest as infra_ingest
from infra.crypto.sealing import SealBrokenError
from infra.ingest import Depth
from infra.ingest_letters import Letters
from infra.ingest_seals import Taken
from infra.jetstream import server_clock
from infra.jetstream.stream import state
from infra.sns_certificates import SnsCertificates
from tests.deliveries import (
    MAILGUN_SECRET,
    POSTMARK_SECRET,
    TOPIC,
    mailgun_event,
    of_mailgun,
    of_postmark,
    of_sendgrid,
    of_ses,
    postmark_event,
    sendgrid_event,
    sendgrid_secret,
    ses_event,
    sns_certificate,
)
from tests.integration.test_http import did, record, running, somebody
from tests.unit import (
    test_webhooks_ashby,
    test_webhooks_greenhouse,
    test_webhooks_lever,
    test_webhooks_resend,
    test_webhooks_standard,
)

SOAK = "RAPPORT_SOAK" in os.environ
SECRETS = {
    "sendgrid": sendgrid_secret(),
    "postmark": POSTMARK_SECRET,
    "mailgun": MAILGUN_SECRET,
    "ses": TOPIC,
}
Running = tuple[Node, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    ses.PROVIDER._certificates, before = lambda _: sns_certificate(), ses.PROVIDER._certificates
    with running(tmp_path_factory.mktemp("webhooks") / "data") as (node, client):
        for provider, secret in SECRETS.items():
            node.intake.secrets.add(provider, secret)
        yield node, client
    ses.PROVIDER._certificates = before


def post(http: httpx.Client, provider: str, delivery: Delivery, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(
        f"/v1/webhooks/{provider}", content=delivery.body, headers={"authorization": "", **delivery.headers, **named}
    )


def waited_for(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def emptied(node: Node) -> None:
    """Returns when nothing waits in the queue."""
    waited_for(lambda: node.intake.queue.depth().messages == 0, "the queue to be empty")


def restarted(node: Node) -> None:
    """Another consumer takes the place of the one there is, as after a restart of the node."""
    node.intake.stop()
    node._start_intake()


def stored(node: Node) -> int:
    """How many deliveries were ever stored."""
    return int(node.connection.call(state(node.connection, node.intake.queue.stream))["last_seq"])


def queued(node: Node, *deliveries: Taken, attempt: int = 1) -> list[settling.Message]:
    """Deliveries as they come from the queue, each from a place of its own where nothing else ever lies."""
    sealed = [(t.provider, node.intake.queue.inlet.sealed(t)) for t in deliveries]
    return [settling.Message(*one, attempt, uuid4().int) for one in sealed]


def now() -> datetime:
    return datetime.now(UTC)


def one_of_each(who: str, at: datetime | None = None) -> dict[str, Delivery]:
    at = at or now()
    return {
        "sendgrid": of_sendgrid([sendgrid_event(id_=uuid4().hex, email=who)], at),
        "postmark": of_postmark(postmark_event(Recipient=who, MessageID=uuid4().hex), at=at),
        "mailgun": of_mailgun(mailgun_event(id_=uuid4().hex, recipient=who), at, token=uuid4().hex),
        "ses": of_ses(ses_event(recipients=(who,), timestamp=at.isoformat()), at),
    }


def from_the_others(who: str, at: datetime) -> dict[str, Delivery]:
    """A delivery of each other provider, as its own tests make them, about somebody that none of those knows."""
    number, stamp = uuid4().int >> 80, {"timestamp": at.isoformat()}
    ashby = test_webhooks_ashby.APPLICATION
    ashby_person = {**ashby["candidate"], "id": uuid4().hex, "primaryEmailAddress": {"value": who, "type": "Work"}}
    person = {**test_webhooks_greenhouse.CANDIDATE, "id": number, "email_addresses": [{"value": who, "type": "work"}]}
    person |= {"phone_numbers": [], "tags": []}
    lever = {name: uuid4().hex for name in test_webhooks_lever.IDS}
    told = {**test_webhooks_standard.ATTENDED, "timestamp": at.isoformat()}
    told["data"] = {**told["data"], "candidate": {"email": who}}
    return {
        "ashby": test_webhooks_ashby.sent(
            test_webhooks_ashby.about("applicationSubmit", uuid4().hex, id=uuid4().hex, candidate=ashby_person)
        ),
        "greenhouse": test_webhooks_greenhouse.sent(
            test_webhooks_greenhouse.about("candidate_stage_change", id=number, candidate=person)
        ),
        "lever": test_webhooks_lever.sent(
            test_webhooks_lever.about("candidateStageChange", lever | test_webhooks_lever.STAGES), token=uuid4().hex
        ),
        "resend": test_webhooks_resend.sent(
            test_webhooks_resend.about("email.opened", to=[who], email_id=uuid4().hex) | stamp, id_=uuid4().hex
        ),
        "standard": test_webhooks_standard.signed(told, test_webhooks_standard.SECRET, id_=uuid4().hex),
    }


def against_contact_without_a_time(at: datetime) -> list[tuple[str, Delivery]]:
    """What is said against contact with no time that can be read, by each provider of whom that may come; made at
    `at`, which is then all the time there is."""
    unsubscribed = mailgun_event("unsubscribed", uuid4().hex, recipient=somebody())
    complained = postmark_event("SpamComplaint", Email=somebody(), MessageID=uuid4().hex)
    number, said = uuid4().int >> 80, {"type": "opted_out", "candidate": {"email": somebody()}, "channel": "email"}
    del unsubscribed["timestamp"], complained["BouncedAt"]
    person = {**test_webhooks_greenhouse.CANDIDATE, "id": number, "can_email": False, "tags": []}
    person["email_addresses"] = [{"value": somebody(), "type": "work"}]
    return [
        ("sendgrid", of_sendgrid([sendgrid_event("unsubscribe", uuid4().hex, email=somebody(), timestamp="x")], at)),
        ("postmark", of_postmark(complained, at=at)),
        ("mailgun", of_mailgun(unsubscribed, at, token=uuid4().hex)),
        ("greenhouse", test_webhooks_greenhouse.sent({"action": "update_candidate", "payload": {"candidate": person}})),
        *(
            ("greenhouse", test_webhooks_greenhouse.sent({"action": "delete_candidate", "payload": {"person": other}}))
            for other in [person | {"id": number + 1, "email_addresses": [{"value": somebody(), "type": "work"}]}]
        ),
        (
            "standard",
            test_webhooks_standard.signed(
                {"type": "left", "data": said}, test_webhooks_standard.SECRET, id_=uuid4().hex, at=at
            ),
        ),
    ]


# ── through the door ──


def test_a_delivery_of_each_provider_is_answered_as_it_expects_and_recorded(here: Running) -> None:
    node, http = here
    who, before = somebody(), node.ledger.last_seq()
    answers = {name: post(http, name, delivery).status_code for name, delivery in one_of_each(who).items()}
    assert answers == {"sendgrid": 202, "postmark": 200, "mailgun": 200, "ses": 202}
    emptied(node)
    assert node.ledger.last_seq() == before + 4
    node.wait_for(before + 4)
    timeline = http.get(f"/v1/candidates/{who}/timeline").json()
    assert sorted(e["source"] for e in timeline["events"]) == sorted(SECRETS)


def test_a_delivery_may_come_by_any_name_of_this_host_and_nothing_else_may(here: Running) -> None:
    node, http = here
    public = {"host": "hooks.example.com"}
    delivery = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now())
    answer = post(http, "sendgrid", replace(delivery, headers={**delivery.headers, **public}))
    assert answer.status_code == 202
    assert http.get("/v1/status", headers=public).status_code == 400
    emptied(node)


def test_what_a_delivery_leads_to_is_tied_to_its_request(here: Running) -> None:
    node, http = here
    delivery = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now())
    id_ = post(http, "sendgrid", delivery).headers["X-Request-Id"]
    again = post(http, "sendgrid", delivery).headers["X-Request-Id"]
    emptied(node)
    node.wait_for(node.ledger.last_seq())
    rows = http.post("/v1/sql", json={"query": "select correlation from events order by seq desc limit 2"}).json()
    assert [row["correlation"] for row in rows].count(id_) == 1
    assert again not in [row["correlation"] for row in rows]


def test_what_is_not_theirs_is_refused_and_stored_nowhere(here: Running) -> None:
    node, http = here
    before = stored(node)
    deliveries = one_of_each(somebody())
    for name, delivery in deliveries.items():
        tampered = {
            "sendgrid": replace(delivery, body=delivery.body + b" "),
            "postmark": replace(delivery, headers={}),
            "mailgun": replace(delivery, body=delivery.body.replace(b'"signature": "', b'"signature": "0')),
            "ses": replace(delivery, body=delivery.body.replace(b"2026", b"2027")),
        }[name]
        answer = post(http, name, tampered)
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert post(http, "resend", deliveries["sendgrid"]).status_code == 404, "known, and not taken here"
    assert post(http, "nobody", deliveries["sendgrid"]).status_code == 404
    huge = replace(deliveries["sendgrid"], body=b"[" + b"0," * 2_100_000 + b"0]")
    assert post(http, "sendgrid", huge).status_code == 413
    assert http.get("/v1/webhooks/sendgrid").status_code == 405
    assert stored(node) == before


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_sns_signed_is_asked_for_again_while_its_certificate_cannot_be_had(
    here: Running, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """SNS drops what is answered by a 4xx."""
    node, http = here
    before, answer = stored(node), httpx.MockTransport(lambda _: httpx.Response(status))
    monkeypatch.setattr(ses.PROVIDER, "_certificates", SnsCertificates(lambda: httpx.Client(transport=answer)))
    delivery = one_of_each(somebody())["ses"]
    for _ in range(2):
        refused = post(http, "ses", delivery)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert stored(node) == before


def test_what_can_be_no_secret_of_a_provider_is_refused_with_what_one_looks_like(here: Running) -> None:
    """It would be taken, and every delivery refused from then on. One that has a frame or blanks around is taken."""
    _, http = here
    for provider, nonsense in (
        ("ses", "this is no arn at all"),
        ("sendgrid", "this is no key at all"),
        ("resend", "whsec_%%%not base64%%%"),
        ("standard", "whpk_!" + "x" * 20),
    ):
        answer = http.post(f"/v1/webhook-providers/{provider}/secrets", json={"secret": nonsense})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:rapport:problem:webhooks-refused"), provider
        assert nonsense not in answer.text
    pem = f"-----BEGIN PUBLIC KEY-----\n{sendgrid_secret()}\n-----END PUBLIC KEY-----\n"
    assert http.post("/v1/webhook-providers/sendgrid/secrets", json={"secret": pem}).status_code == 201
    assert post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now())).is_success
    (found,) = [p for p in http.get("/v1/webhook-providers").json()["providers"] if p["provider"] == "sendgrid"]
    assert len(found["secrets"]) == 2
    first = {"fingerprint": found["secrets"][0]}
    assert http.delete("/v1/webhook-providers/sendgrid", params=first).json()["removed"] == 1


def test_a_secret_in_the_address_proves_a_delivery_that_nobody_signs(here: Running) -> None:
    node, http = here
    secret = "a-secret-in-the-address"  # noqa: S105 - of nobody
    node.intake.secrets.add("postmark", secret)
    body = of_postmark(postmark_event(Recipient=somebody())).body
    assert http.post(f"/v1/webhooks/postmark/{secret}", content=body).status_code == 200
    assert http.post(f"/v1/webhooks/postmark/{secret}x", content=body).status_code == 401
    emptied(node)


def test_a_token_of_mailgun_is_taken_again_with_what_it_came_with_and_with_nothing_else(here: Running) -> None:
    node, http = here
    who, token, at = somebody(), uuid4().hex, now()
    good = of_mailgun(mailgun_event(id_=uuid4().hex, recipient=who), at, token)
    assert [post(http, "mailgun", good).status_code for _ in range(3)] == [200, 200, 200]
    forged = of_mailgun(mailgun_event("unsubscribed", uuid4().hex, recipient=somebody()), at, token)
    answer = post(http, "mailgun", forged)
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:rapport:problem:replayed")
    restarted(node)
    assert post(http, "mailgun", forged).status_code == 401, "the token is remembered by the server"
    emptied(node)


def garbage(random_: random.Random, good: bytes) -> bytes:
    """Bytes as a fuzzer would send them: noise, JSON of any shape, or something good with a hole in it."""
    kind = random_.randrange(5)
    if kind == 0:
        return random_.randbytes(random_.randrange(200))
    if kind == 1:
        return b"[" * random_.randrange(2_000)
    if kind == 2:
        values: list[Any] = [None, 3, -1e308, "\x00☃", [], {}, {"a": {}}, [[]], True]
        return json.dumps({"signature": random_.choice(values), "Type": random_.choice(values), "x": values}).encode()
    if kind == 3:
        return good[: random_.randrange(len(good))]
    at = random_.randrange(len(good))
    return good[:at] + random_.randbytes(1 + random_.randrange(3)) + good[at + 1 :]


def test_malformed_bodies_end_in_no_fault_and_are_stored_nowhere(here: Running) -> None:
    node, http = here
    before, random_ = stored(node), random.Random(7)
    good = {name: replace(d, headers={}) for name, d in one_of_each(somebody(), now()).items()}
    # Signatures of Mailgun and SNS do not cover all of a body: with a good one, what was altered is theirs too.
    good["mailgun"] = of_mailgun(mailgun_event(), now(), secret=TOPIC)
    good["ses"] = of_ses(ses_event(), now(), TopicArn=TOPIC + "-of-others")
    statuses = set[int]()
    for n in range(100_000 if SOAK else 300):
        name = random_.choice(list(good))
        headers = {"x-twilio-email-event-webhook-signature": "AAAA", "x-twilio-email-event-webhook-timestamp": str(n)}
        body = garbage(random_, good[name].body)
        headers = headers if random_.random() < 0.5 else {}
        statuses.add(post(http, name, Delivery(headers, body, now())).status_code)
    assert statuses <= {400, 401}, statuses
    assert stored(node) == before


# ── into the ledger, once ──


@settings(max_examples=300 if SOAK else 6)
@given(data=st.data())
def test_repeated_reordered_and_with_restarts_each_happening_is_one_event(here: Running, data: st.DataObject) -> None:
    """Of all nine. The door is passed by: what is drawn is the order in which deliveries lie in the queue."""
    node, _ = here
    people, at = [somebody() for _ in range(2)], now()
    known = [(name, d) for who in people for name, d in one_of_each(who, at).items()]
    known += [(name, d) for who in people for name, d in from_the_others(who, at).items()]
    array = [sendgrid_event("open", uuid4().hex, email=who) for who in people]
    known += [("sendgrid", of_sendgrid(array, at)), ("sendgrid", of_sendgrid([*array, array[0]], at))]
    known += against_contact_without_a_time(at)
    assert {name for name, _ in known} == PROVIDERS.keys()
    told = [happening.record for name, d in known for happening in PROVIDERS[name].read(d)]
    distinct = len({record["id"] for record in told if record is not None})
    sent = data.draw(st.permutations(known * data.draw(st.integers(1, 3))))
    restarts = data.draw(st.sets(st.integers(0, len(sent) - 1), max_size=2))
    hours = data.draw(st.lists(st.integers(0, 15), min_size=len(sent), max_size=len(sent)))
    before = node.ledger.last_seq()  # nothing is drawn from here on: what is given up must leave nothing queued
    for n, (name, delivery) in enumerate(sent):
        late = at + timedelta(hours=hours[n])
        node.intake.queue.put(Taken(name, late, delivery.headers, delivery.body))
        if n in restarts:
            restarted(node)
    emptied(node)
    assert node.ledger.last_seq() - before == distinct


def test_what_is_said_against_contact_without_a_time_and_sent_again_is_one_event(here: Running) -> None:
    """Through the door, before and after a restart; a sender may sign it anew, or write what is told otherwise."""
    node, http = here
    greenhouse, standard = test_webhooks_greenhouse.SECRET, test_webhooks_standard.SECRET
    node.intake.secrets.add("greenhouse", greenhouse)
    node.intake.secrets.add("standard", standard)
    before, said = node.ledger.last_seq(), against_contact_without_a_time(now())
    for _ in range(2):
        for name, delivery in said:
            assert post(http, name, delivery).is_success, name
            if name == "greenhouse":
                assert post(http, name, test_webhooks_greenhouse.sent(delivery.body + b" ")).is_success
            if name == "standard":
                id_ = delivery.headers["webhook-id"]
                again = test_webhooks_standard.signed(delivery.body, standard, id_=id_, at=now())
                assert post(http, name, again).is_success
        emptied(node)
        assert node.ledger.last_seq() - before == len(said)
        restarted(node)


def test_a_delivery_about_a_merged_candidate_lands_on_their_own_stream_and_shows_on_the_survivor(here: Running) -> None:
    node, http = here
    duplicate, survivor = somebody(), somebody()
    record(http, did("sourced", duplicate), did("sourced", survivor))
    into, own = node.recording.resolve(_reference(survivor)), node.recording.resolve(_reference(duplicate))
    node.wait_for(record(http, did("merged", duplicate, into={"email": survivor})))
    for name, delivery in one_of_each(duplicate).items():
        post(http, name, delivery)
    emptied(node)
    node.wait_for(node.ledger.last_seq())
    timeline = http.get(f"/v1/candidates/{into}/timeline").json()["events"]
    told = [e for e in timeline if e.get("source") in SECRETS]
    assert {e["source"] for e in told} == SECRETS.keys()
    assert own != into
    assert {e["candidate_id"] for e in told} == {own}


def _reference(email: str) -> Any:
    from domain.interaction import Reference

    return Reference(email=email)


def test_what_is_about_somebody_erased_is_counted_and_leaves_no_trace(here: Running) -> None:
    node, http = here
    who, other = somebody(), somebody()
    node.wait_for(record(http, did("sourced", who)))
    answer = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "consent_withdrawn"})
    assert answer.is_success, answer.text
    before, counted = node.ledger.last_seq(), node.intake.counted.totals().get("erased", 0)
    events = [sendgrid_event(id_=uuid4().hex, email=who), sendgrid_event(id_=uuid4().hex, email=other)]
    events.append(sendgrid_event("teleported", email=who))
    future = int((now() + timedelta(days=9)).timestamp())
    events.append(sendgrid_event(id_=uuid4().hex, email=other, timestamp=future))  # refused, and kept alone
    assert post(http, "sendgrid", of_sendgrid(events, now())).status_code == 202
    emptied(node)
    assert node.ledger.last_seq() == before + 1
    assert node.intake.counted.totals()["erased"] == counted + 1
    kept = [letter.taken for letter in node.intake.letters._each("ingest_dead.>") if letter.taken is not None]
    assert any(other.encode() in taken.body for taken in kept)
    assert not any(who.encode() in taken.body for taken in kept)


# ── what cannot be recorded ──


def letters(http: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/v1/dead-letters", params={"of": "ingest"}).json()["ingest"]
    return found


def test_a_poisonous_delivery_is_kept_with_its_reason_and_holds_up_nobody(here: Running) -> None:
    node, http = here
    before, known = node.ledger.last_seq(), {letter["id"] for letter in letters(http)}
    marker = uuid4().hex
    assert post(http, "sendgrid", of_sendgrid({"no": marker}, now())).status_code == 202
    for _ in range(5):
        post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now()))
    emptied(node)
    assert node.ledger.last_seq() == before + 5
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert letter["reasons"] == ["unreadable: the body should be a JSON array of events"]
    shown = http.get(f"/v1/dead-letters/{letter['id']}").json()
    assert marker in shown["body"]
    assert "authorization" not in shown["headers"]
    looked = http.get("/v1/access-log", params={"what": "dead_letters"}).json()["records"]
    assert looked[-1]["route"] == "GET /v1/dead-letters/{letter}"


def test_what_became_of_a_delivery_is_found_by_its_correlation(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it could not be recorded: in the log, and in the letter."""
    node, http = here
    known = {letter["id"] for letter in letters(http)}
    poisonous, strange = uuid4().hex, uuid4().hex
    monkeypatch.setattr(keeping, "log", log := CapturingLogger())
    post(http, "sendgrid", of_sendgrid({"no": "array"}, now()), x_request_id=poisonous)
    post(http, "sendgrid", of_sendgrid([sendgrid_event("floated", email=somebody())], now()), x_request_id=strange)
    emptied(node)
    lines = {call.kwargs["correlation"]: call.method_name for call in log.calls}
    assert lines == {poisonous: "warning", strange: "info"}
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert http.get(f"/v1/dead-letters/{letter['id']}").json()["correlation"] == poisonous


def test_only_officers_see_what_a_letter_holds(here: Running) -> None:
    node, http = here
    tokens = Tokens.of(node.settings.tokens_file)
    for role in Role:
        answer = http.get("/v1/dead-letters/i1", headers={"authorization": f"Bearer {tokens[role]}"})
        assert (answer.status_code == 403) is (role not in (Role.COMPLIANCE, Role.ADMIN)), role


def test_a_letter_that_is_tried_again_is_recorded_once_it_can_be(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    before, who = node.ledger.last_seq(), somebody()
    known = {letter["id"] for letter in letters(http)}
    with monkeypatch.context() as while_broken:
        reading = node.intake.providers["sendgrid"]
        while_broken.setattr(type(reading), "read", lambda *_: 1 / 0)
        post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=who)], now()))
        emptied(node)
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert "ZeroDivisionError" in letter["reasons"][0]
    answer = http.post("/v1/dead-letters/retry", json={"letters": [letter["id"], "i999999"]}).json()
    assert [r["status"] for r in answer["ingest"]] == ["queued", "no-dead-letter"]
    emptied(node)
    assert node.ledger.last_seq() == before + 1
    assert letter["id"] not in {found["id"] for found in letters(http)}


def test_trouble_of_ours_is_waited_for_and_loses_nothing(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    node, http = here
    before, failures, dead = node.ledger.last_seq(), [0], len(letters(http))
    monkeypatch.setattr(settling, "backoff_s", lambda *_: 0.01)
    record_them = node.recording.record

    def troubled(*args: Any, **options: Any) -> Any:
        failures[0] += 1
        if failures[0] <= 2 * trying.POISON_ATTEMPTS:
            raise OperationalError("the ledger is away")
        return record_them(*args, **options)

    monkeypatch.setattr(node.recording, "record", troubled)
    post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now()))
    waited_for(lambda: node.intake.failure is not None, "the failure to be told")
    assert any("webhook deliveries wait" in reason for reason in node.unready())
    emptied(node)
    assert node.ledger.last_seq() == before + 1
    assert len(letters(http)) == dead
    assert node.intake.failure is None


def test_what_breaks_recording_is_found_among_others_and_given_up_after_some_attempts(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    before, poison = node.ledger.last_seq(), somebody()
    known = {letter["id"] for letter in letters(http)}
    monkeypatch.setattr(settling, "backoff_s", lambda *_: 0.01)
    record_them = node.recording.record

    def broken(interactions: Any, **options: Any) -> Any:
        if any(i.candidate.email == poison for i in interactions):
            raise ZeroDivisionError
        return record_them(interactions, **options)

    monkeypatch.setattr(node.recording, "record", broken)
    node.intake.stop()
    for who in (somebody(), poison, somebody()):
        delivery = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=who)], now())
        node.intake.queue.put(Taken("sendgrid", now(), delivery.headers, delivery.body))
    node._start_intake()
    emptied(node)
    assert node.ledger.last_seq() == before + 2
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert "5 times (ZeroDivisionError)" in letter["reasons"][0]


def test_a_delivery_beside_one_that_breaks_recording_keeps_what_was_refused_of_it(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is recorded: by the other's fault it would be acknowledged and gone."""
    node, http = here
    poison, known = somebody(), {letter["id"] for letter in letters(http)}
    record_them = node.recording.record

    def broken(interactions: Any, **options: Any) -> Any:
        if any(i.candidate.email == poison for i in interactions):
            raise ZeroDivisionError
        return record_them(interactions, **options)

    monkeypatch.setattr(node.recording, "record", broken)
    told = {"type": "teleported", "candidate": {"email": somebody()}, "occurred_at": now().isoformat()}
    refused = json.dumps({"type": "trip", "data": told}).encode()
    bad = Taken("standard", now(), {"webhook-id": uuid4().hex}, refused)
    breaking = Taken("sendgrid", now(), {}, of_sendgrid([sendgrid_event(id_=uuid4().hex, email=poison)], now()).body)
    messages = queued(node, bad, breaking)
    settle = node.intake._settling.settle
    bad_wait_s, breaking_wait_s = settle(messages)
    assert (bad_wait_s, breaking_wait_s) == (None, 1.0)
    again = [settle(messages[1:]) for _ in range(1, trying.POISON_ATTEMPTS)]
    assert again == [[2.0], [4.0], [8.0], [None]]
    reasons = {found["provider"]: found["reasons"][0] for found in letters(http) if found["id"] not in known}
    assert reasons.keys() == {"standard", "sendgrid"}
    assert "unknown type 'teleported'" in reasons["standard"]
    assert "5 times (ZeroDivisionError)" in reasons["sendgrid"]


@pytest.fixture(scope="module")
def erased(here: Running) -> tuple[str, str]:
    """Addresses of people who were erased; in the second one is something that more often ends an address."""
    node, http = here
    people = somebody(), f"o'brien.{uuid4().hex[:8]}@example.com"
    for who in people:
        node.wait_for(record(http, did("sourced", who)))
        asked = {"candidate": who, "ground": "consent_withdrawn"}
        http.post("/v1/compliance/erasures", json=asked).raise_for_status()
    return people


def kept_since(node: Node, http: httpx.Client, known: set[str]) -> list[bytes]:
    """What is in the letters that have come since."""
    seqs = [int(found["id"][1:]) for found in letters(http) if found["id"] not in known]
    opened = [node.intake.letters.get(seq) for seq in seqs]
    return [letter.taken.body for letter in opened if letter is not None and letter.taken is not None]


def of_several(provider: str, gone: Sequence[str], ada: str) -> Taken:
    """A delivery about people who were erased and, against contact, about Ada."""
    if provider == "ses":
        return Taken("ses", now(), {}, of_ses(ses_event("Complaint", (*gone, ada)), now()).body)
    events = [sendgrid_event(id_=uuid4().hex, email=who) for who in gone]
    events.append(sendgrid_event("unsubscribe", uuid4().hex, email=ada, timestamp=int(now().timestamp())))
    return Taken("sendgrid", now(), {}, of_sendgrid(events, now()).body)


@pytest.mark.parametrize("provider", ["sendgrid", "ses"])
def test_an_opt_out_beside_somebody_erased_outlives_a_fault_of_ours(
    here: Running, erased: tuple[str, str], monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Recording faults until the delivery is given up; the letter has the one and no trace of the other."""
    node, http = here
    ada = somebody()
    known, counted = {letter["id"] for letter in letters(http)}, node.intake.counted.totals()
    (message,) = queued(node, of_several(provider, erased, ada))
    with monkeypatch.context() as while_broken:
        while_broken.setattr(node.recording, "record", lambda *_, **__: 1 / 0)
        waits = [node.intake._settling.settle([message])[0] for _ in range(trying.POISON_ATTEMPTS)]
    assert waits == [1.0, 2.0, 4.0, 8.0, None]
    (body,) = kept_since(node, http, known)
    assert ada.encode() in body
    assert not any(gone.encode() in body for gone in erased)
    totals = node.intake.counted.totals()
    assert (totals["dead"] - counted.get("dead", 0), totals["erased"] - counted.get("erased", 0)) == (1, 1)
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert letter["reasons"] == ["recording it ended in a fault of Rapport 5 times (ZeroDivisionError)"]
    http.post("/v1/dead-letters/retry", json={"letters": [letter["id"]]}).raise_for_status()
    emptied(node)
    assert status_of(node, http, ada) == "opted_out"


def test_what_nobody_can_read_of_others_is_kept_without_whoever_was_erased(
    here: Running, erased: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    ada, known = somebody(), {letter["id"] for letter in letters(http)}
    events = [sendgrid_event(id_=uuid4().hex, email=who) for who in erased]
    events.append(sendgrid_event("unsubscribe", uuid4().hex, email=ada))
    with monkeypatch.context() as while_broken:
        while_broken.setattr(type(node.intake.providers["sendgrid"]), "read", lambda *_: 1 / 0)
        post(http, "sendgrid", of_sendgrid(events, now()))
        emptied(node)
    (body,) = kept_since(node, http, known)
    assert json.loads(body) == [events[2]]
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    http.post("/v1/dead-letters/retry", json={"letters": [letter["id"]]}).raise_for_status()
    emptied(node)
    assert status_of(node, http, ada) == "opted_out"


def test_unknown_kinds_about_others_are_kept_beside_somebody_erased(here: Running, erased: tuple[str, str]) -> None:
    node, http = here
    gone, ada = erased[0], somebody()
    ours, theirs = uuid4().hex[:8], uuid4().hex[:8]
    events = [sendgrid_event(id_=uuid4().hex, email=gone), sendgrid_event(theirs, email=gone)]
    events.append(sendgrid_event(ours, email=ada))
    post(http, "sendgrid", of_sendgrid(events, now()))
    emptied(node)
    kinds = {kind["kind"]: kind for kind in http.get("/v1/webhook-kinds").json()["kinds"]}
    assert theirs not in kinds
    assert json.loads(http.get(f"/v1/dead-letters/{kinds[ours]['id']}").json()["body"]) == [events[2]]


def test_an_erasure_leaves_what_a_letter_tells_of_others(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    node, http = here
    gone, ada = somebody(), somebody()
    known = {letter["id"] for letter in letters(http)}
    events = [sendgrid_event(id_=uuid4().hex, email=gone), sendgrid_event("unsubscribe", uuid4().hex, email=ada)]
    with monkeypatch.context() as while_broken:
        while_broken.setattr(type(node.intake.providers["sendgrid"]), "read", lambda *_: 1 / 0)
        post(http, "sendgrid", of_sendgrid(events, now()))
        emptied(node)
    (before,) = [found for found in letters(http) if found["id"] not in known]
    assert node.intake.letters.drop_naming([f"email:{gone}"]) == 1
    (after,) = [found for found in letters(http) if found["id"] not in known]
    assert after["id"] != before["id"]
    assert after["reasons"] == before["reasons"]
    assert json.loads(http.get(f"/v1/dead-letters/{after['id']}").json()["body"]) == [events[1]]
    assert node.intake.letters.drop_naming([f"email:{gone}"]) == 0
    assert node.intake.letters.drop_naming([f"email:{ada}"]) == 1
    assert kept_since(node, http, known) == []


def test_a_delivery_that_cannot_be_kept_holds_nobody_else_up_and_is_told(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    known, who = {letter["id"] for letter in letters(http)}, somebody()
    unread = Taken("sendgrid", now(), {}, b'{"no": "array"}')
    fine = Taken("sendgrid", now(), {}, of_sendgrid([sendgrid_event(id_=uuid4().hex, email=who)], now()).body)
    messages, settle = queued(node, unread, fine), node.intake._settling.settle
    for error, said in ((ZeroDivisionError(), "ZeroDivisionError"), (DataError(), "max_payload")):
        with monkeypatch.context() as while_broken:
            while_broken.setattr(node.intake.letters, "add", _raising(error))
            assert settle(messages) == [settling.LONGEST_WAIT_S, None]
            assert said in str(node.intake.failure)
    assert settle(messages[:1]) == [None]
    assert node.intake.failure is None
    assert kept_since(node, http, known) == [unread.body]


def _raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


# ── tries ──


def merge_of(who: str, into: str) -> Taken:
    data = {"type": "merged", "candidate": {"email": who}, "data": {"into": {"email": into}}}
    body = json.dumps({"type": "merge", "data": data | {"occurred_at": now().isoformat()}}).encode()
    return Taken("standard", now(), {"webhook-id": uuid4().hex}, body)


def test_what_was_handed_out_often_is_given_up_only_when_it_failed_often_itself(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after hours without NATS: the server has counted each time that it was handed out."""
    node, http = here
    known, settle = {letter["id"] for letter in letters(http)}, node.intake._settling.settle
    good = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now())
    messages = queued(node, Taken("sendgrid", now(), {}, good.body), attempt=500)
    messages += queued(node, merge_of(somebody(), somebody()), attempt=500)
    with monkeypatch.context() as while_broken:
        while_broken.setattr(node.recording, "record", lambda *_, **__: 1 / 0)
        assert settle(messages) == [1.0, 1.0]
    with monkeypatch.context() as while_away:
        while_away.setattr(node.recording, "record", _raising(OperationalError("away")))
        for _ in range(trying.POISON_ATTEMPTS):
            assert settle(messages) == [settling.LONGEST_WAIT_S] * 2
    assert settle(messages) == [None, 2.0]
    with monkeypatch.context() as without_its_key:
        without_its_key.setattr(node.intake.queue, "open", _raising(SealBrokenError("gone")))
        assert settle(queued(node, Taken("sendgrid", now(), {}, good.body), attempt=500)) == [1.0]
    assert {letter["id"] for letter in letters(http)} == known


def test_a_merge_that_came_hours_too_early_is_recorded_when_the_other_has_come(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    duplicate, survivor, hours = somebody(), somebody(), 0.0
    monkeypatch.setattr(node.intake._settling, "_tries", trying.Tries(lambda: hours * 3_600))
    known, (message,) = {letter["id"] for letter in letters(http)}, queued(node, merge_of(duplicate, survivor))
    waits = list[float | None]()
    while hours < trying.EARLY_FOR_S / 3_600 - 1:
        waits += node.intake._settling.settle([message])
        hours += (waits[-1] or 0.0) / 3_600
    assert max(wait for wait in waits if wait is not None) == settling.EARLY_WAIT_S
    record(http, did("sourced", survivor), did("sourced", duplicate))
    assert node.intake._settling.settle([message]) == [None]
    node.wait_for(node.ledger.last_seq())
    merged, into = (node.recording.resolve(_reference(who)) for who in (duplicate, survivor))
    assert into in node.recording.forest_of(merged).members(merged)
    assert {letter["id"] for letter in letters(http)} == known
    never = queued(node, merge_of(somebody(), somebody()))
    assert node.intake._settling.settle(never) == [1.0]
    for _ in range(trying.POISON_ATTEMPTS):
        assert node.intake._settling.settle(never) != [None]
    hours += trying.EARLY_FOR_S / 3_600
    assert node.intake._settling.settle(never) == [None]
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert letter["reasons"][0].startswith("merge-refused: ")


def test_what_is_about_an_erased_record_by_its_id_leaves_no_trace_where_recording_faults(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    who = somebody()
    node.wait_for(record(http, did("sourced", who)))
    id_ = node.recording.resolve(_reference(who))
    http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "objection"}).raise_for_status()
    known = {letter["id"] for letter in letters(http)}
    told = {"type": "replied", "candidate": {"id": id_}, "occurred_at": now().isoformat(), "data": {"text": "no more"}}
    body = json.dumps({"type": "reply", "data": told}).encode()
    message = queued(node, Taken("standard", now(), {"webhook-id": uuid4().hex}, body))
    monkeypatch.setattr(node.recording, "record", lambda *_, **__: 1 / 0)
    assert [node.intake._settling.settle(message) for _ in range(trying.POISON_ATTEMPTS)][-1] == [None]
    assert {letter["id"] for letter in letters(http)} == known


def test_so_many_wait_for_another_delivery_and_no_more(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    node, http = here
    monkeypatch.setattr(trying, "EARLY_AT_ONCE", 1)
    hours = 0.0
    monkeypatch.setattr(node.intake._settling, "_tries", trying.Tries(lambda: hours * 3_600))
    first, second = queued(node, *(merge_of(somebody(), somebody()) for _ in range(2)))
    settle = node.intake._settling.settle
    for n in range(trying.POISON_ATTEMPTS - 1):
        assert settle([first, second]) == [2.0**n] * 2
    known = {letter["id"] for letter in letters(http)}
    assert settle([second]) == [None]
    assert settle([first]) == [16.0]
    assert len({letter["id"] for letter in letters(http)} - known) == 1
    hours += 2 * trying.EARLY_FOR_S / 3_600  # the first one went to another node, and never comes here again
    (third,) = queued(node, merge_of(somebody(), somebody()))
    assert [settle([third]) for _ in range(trying.POISON_ATTEMPTS)][-1] == [16.0]


# ── how it ends ──


def test_readiness_tells_of_a_fault_that_keeps_all_deliveries_waiting(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    before, failing = node.ledger.last_seq(), [True]
    settle = node.intake._ingest._settle

    def faulty(messages: Any) -> Any:
        if failing[0]:
            raise MemoryError
        return settle(messages)

    monkeypatch.setattr(consuming, "backoff_s", lambda *_: 0.01)
    monkeypatch.setattr(node.intake._ingest, "_settle", faulty)
    post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now()))
    waited_for(lambda: node.intake.failure is not None, "the fault to be told")
    assert any("a fault of Rapport (MemoryError)" in reason for reason in node.unready())
    failing[0] = False
    emptied(node)
    assert node.intake.failure is None
    assert node.ledger.last_seq() == before + 1


def test_what_is_at_hand_for_long_is_not_handed_out_again(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is being settled nor what waits behind it: settled twice, it would be twice the work, and more the
    longer the queue is. Only so much is taken at a time that it does not fill the memory.
    """
    node, _ = here
    monkeypatch.setattr(infra_ingest, "ACK_WAIT_S", 1.0)
    monkeypatch.setattr(consuming, "HELD_S", 0.25)
    monkeypatch.setattr(consuming, "AT_ONCE", 4)
    queue = infra_ingest.Queue(node.connection, node.intake._seals, name="SLOW")
    came, most = Counter[int](), [0]

    def slowly(messages: Sequence[settling.Message]) -> list[float | None]:
        came.update(message.seq for message in messages)
        most[0] = max(most[0], len(messages) + len(slow._turns))
        time.sleep(1.5)
        return [None] * len(messages)

    slow = consuming.Ingest(node._servers, queue, slowly)
    for _ in range(14):
        queue.put(Taken("sendgrid", now(), {}, b"[]"))
    slow.start()
    try:
        waited_for(lambda: queue.depth().messages == 0, "the slow queue to be empty")
    finally:
        slow.stop()
    assert came == Counter(range(1, 15))
    assert most[0] <= 3 * 4


def test_of_large_ones_few_are_settled_together_and_a_stop_returns_the_rest_at_once(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory and a stop cost is that of a few, however many wait; one over the bound is settled alone."""
    node, _ = here
    monkeypatch.setattr(consuming, "SETTLED_BYTES", 30_000)
    queue = infra_ingest.Queue(node.connection, node.intake._seals, name="LARGE")
    together: list[int] = []

    def slowly(messages: Sequence[settling.Message]) -> list[float | None]:
        together.append(len(messages))
        time.sleep(0.5)
        return [None] * len(messages)

    large = consuming.Ingest(node._servers, queue, slowly)
    sizes = [40_000] * 2 + [10_000] * 38
    for size in sizes:
        queue.put(Taken("sendgrid", now(), {}, b"[" + b" " * size + b"]"))
    large.start()
    try:
        waited_for(lambda: len(together) >= 5, "five rounds of settling")
        began = time.monotonic()
    finally:
        large.stop()
    assert time.monotonic() - began < 5.0
    assert together[:2] == [1, 1]
    assert max(together) == 2
    assert queue.depth().messages == len(sizes) - sum(together)


def test_what_a_pull_does_not_bring_within_its_time_is_not_handed_out_again(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large deliveries take the server longer than a pull waits, and their bytes are bounded: each is settled once."""
    node, _ = here
    monkeypatch.setattr(infra_ingest, "ACK_WAIT_S", 1.0)
    monkeypatch.setattr(consuming, "HELD_S", 0.25)
    monkeypatch.setattr(consuming, "PULL_S", 0.02)
    queue = infra_ingest.Queue(node.connection, node.intake._seals, name="HEAVY")
    came, most = Counter[int](), [0]

    def slowly(messages: Sequence[settling.Message]) -> list[float | None]:
        came.update(message.seq for message in messages)
        most[0] = max(most[0], sum(turn.size for turn in heavy._turns))
        time.sleep(0.1)
        return [None] * len(messages)

    heavy = consuming.Ingest(node._servers, queue, slowly)
    for _ in range(40):
        queue.put(Taken("sendgrid", now(), {}, b" " * 1_000_000))
    heavy.start()
    try:
        waited_for(lambda: queue.depth().messages == 0, "the heavy queue to be empty")
    finally:
        heavy.stop()
    assert came == Counter(range(1, 41))
    assert most[0] <= max(consuming.PULLED_BYTES, 2 * node.connection._client.max_payload)


def test_what_is_settled_again_is_a_letter_and_counted_once(here: Running) -> None:
    """As after a node was killed between keeping a delivery and acknowledging it."""
    node, http = here
    kind = f"levitated-{uuid4().hex}"
    unknown = json.dumps([sendgrid_event(kind, email=somebody())]).encode()
    some = queued(
        node,
        Taken("sendgrid", now(), {}, b"no json", correlation=uuid4().hex),
        Taken("sendgrid", now(), {}, unknown, correlation=uuid4().hex),
    )
    known = {letter["id"] for letter in letters(http)}
    for _ in range(3):
        assert node.intake._settling.settle(some) == [None, None]
    assert len({letter["id"] for letter in letters(http)} - known) == 1
    assert [k["count"] for k in http.get("/v1/webhook-kinds").json()["kinds"] if k["kind"] == kind] == [1]


def test_two_senders_of_standard_webhooks_may_give_their_messages_the_same_ids(here: Running) -> None:
    """Ids are unique by sender only; each has a name of its own, and a rotated secret changes nothing in it."""
    node, http = here
    who, secrets = somebody(), {name: f"whsec_{b64encode(os.urandom(24)).decode()}" for name in "abc"}
    added = [("standard", "a"), ("standard-billing", "b"), ("standard-billing", "c")]
    for name, key in added:
        http.post(f"/v1/webhook-providers/{name}/secrets", json={"secret": secrets[key]}).raise_for_status()
    for name, key in added:
        data = {"type": "tagged", "candidate": {"email": who}, "source": "x", "data": {"tag": f"from-{name}"}}
        body = {"type": "tagged", "timestamp": now().isoformat(), "data": data}
        assert post(http, name, test_webhooks_standard.signed(body, secrets[key], id_="1", at=now())).status_code == 202
    emptied(node)
    node.wait_for(node.ledger.last_seq())
    assert sorted(http.get(f"/v1/candidates/{who}").json()["tags"]) == ["from-standard", "from-standard-billing"]
    shown = {p["provider"]: p["on"] for p in http.get("/v1/webhook-providers").json()["providers"]}
    assert shown["standard-billing"]
    assert http.delete("/v1/webhook-providers/standard-billing").json()["removed"] == 2
    for name in ("standard-", "standard-Ä", "standard-a.b", "nobody"):
        answer = http.post(f"/v1/webhook-providers/{name}/secrets", json={"secret": secrets["a"]})
        assert (answer.status_code, "standard-NAME" in answer.text) == (404, True), name


def test_readiness_tells_when_nothing_is_recorded_any_more(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    node, http = here
    ingest, message = node.intake._ingest, settling.Message("sendgrid", b"", 1, 1)
    loop = ingest._tasks[0].get_loop()

    async def ends(_: Any) -> Any:
        raise SystemError("of a task that nobody looks at")

    def comes() -> None:
        ingest._turns.append(consuming._Turn(message, loop.create_future()))
        ingest._wake.set()

    monkeypatch.setattr(ingest, "_settled", ends)
    loop.call_soon_threadsafe(comes)
    waited_for(lambda: ingest.failure is not None, "the end to be told")
    answer = http.get("/readyz")
    restarted(node)
    assert answer.status_code == 503
    assert "what records them has ended" in answer.text
    assert ingest.failure is None, "it was stopped"
    assert node.intake.failure is None


def test_a_refused_record_is_kept_at_once_with_the_rule_and_without_the_value(here: Running) -> None:
    node, http = here
    known = {letter["id"] for letter in letters(http)}
    future = int((now() + timedelta(days=9)).timestamp())
    post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody(), timestamp=future)], now()))
    emptied(node)
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert letter["reasons"][0].startswith("occurred-in-future: ")
    assert "example.com" not in letter["reasons"][0]


def test_an_unknown_kind_is_kept_counted_and_shown(here: Running) -> None:
    node, http = here
    for _ in range(3):
        post(http, "sendgrid", of_sendgrid([sendgrid_event("levitated", email=somebody())], now()))
    emptied(node)
    post(http, "sendgrid", of_sendgrid([sendgrid_event("hovered", email=somebody())], now()))
    emptied(node)
    whole = http.get("/v1/webhook-kinds").json()
    kinds, page = [], http.get("/v1/webhook-kinds?limit=1").json()
    while page["next"] is not None:
        kinds += page["kinds"]
        page = http.get("/v1/webhook-kinds", params={"limit": 1, "after": page["next"]}).json()
    assert (kinds + page["kinds"], whole["next"]) == (whole["kinds"], None)
    assert len(kinds) > 0
    (kind,) = [k for k in whole["kinds"] if k["kind"] == "levitated"]
    assert (kind["provider"], kind["count"]) == ("sendgrid", 3)
    shown = http.get(f"/v1/dead-letters/{kind['id']}").json()
    assert [one["id"] for one in shown["alike"]][-1] == kind["id"]
    bodies = {http.get(f"/v1/dead-letters/{one['id']}").json()["body"] for one in shown["alike"]}
    assert len(bodies) == 3
    assert all("levitated" in body for body in bodies)


def test_letters_that_name_somebody_can_be_overwritten(here: Running) -> None:
    node, http = here
    who = somebody()
    post(http, "sendgrid", of_sendgrid([sendgrid_event("levitated", email=who)], now()))
    post(http, "sendgrid", of_sendgrid({"about": who.upper()}, now()))
    emptied(node)
    assert node.intake.letters.drop_naming([f"email:{who}"]) == 2
    assert node.intake.letters.drop_naming([f"email:{who}"]) == 0


def test_an_erasure_overwrites_letters_that_name_the_person(here: Running) -> None:
    node, http = here
    who, other = somebody(), somebody()
    sourced = {"type": "sourced", "candidate": {"email": who}, "occurred_at": "2026-03-01T09:30:00Z", "source": "fair"}
    http.post("/v1/interactions", json=sourced).raise_for_status()
    for address in (who, other):
        post(http, "sendgrid", of_sendgrid([sendgrid_event("levitated", email=address)], now()))
    emptied(node)
    asked = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "objection"}).raise_for_status()
    place = f"/v1/compliance/erasures/{asked.json()['erasure']}"
    waited_for(lambda: http.get(place).json()["records"] != [], "the record's last event")
    assert node.intake.letters.drop_naming([f"email:{who}"]) == 0
    assert node.intake.letters.drop_naming([f"email:{other}"]) == 1


# ── kept from others ──


def test_nothing_of_a_delivery_can_be_read_on_disk_and_nothing_at_all_once_its_key_is_gone(here: Running) -> None:
    node, _ = here
    node.intake.stop()
    marker = f"marker-{uuid4().hex}@example.com"
    delivery = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=marker)], now())
    node.intake.queue.put(Taken("sendgrid", now(), delivery.headers | {"x-note": marker}, delivery.body))
    files = [path for path in (node.settings.data / "nats").rglob("*") if path.is_file()]
    assert files
    assert not any(marker.encode() in path.read_bytes() for path in files)
    seals = node.intake._seals
    sealed = seals.seal("queue", Taken("sendgrid", now(), {}, marker.encode()))
    assert seals.open("queue", "sendgrid", sealed)[0].body == marker.encode()
    for purpose, provider in (("dead", "sendgrid"), ("queue", "postmark")):
        with pytest.raises(SealBrokenError):
            seals.open(purpose, provider, sealed)
    node._start_intake()
    emptied(node)
    today, seals = now().date(), node.intake._seals
    assert node.intake.sweep() == 0, "today's keys are needed"
    assert seals.destroy_before("queue", today + timedelta(days=1)) == 1
    with pytest.raises(SealBrokenError, match="gone"):
        seals.open("queue", "sendgrid", sealed)
    assert not any("queue." in name for name in seals.bucket.load_all())


def test_a_key_is_kept_for_as_long_as_anything_may_need_it(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    node, _ = here
    intake, today = node.intake, now().date()
    assert intake.queue.keys_needed_from() <= today - timedelta(days=1)
    assert intake.letters.keys_needed_from() <= today - timedelta(days=31)
    monkeypatch.setattr(intake.queue, "depth", lambda: Depth(1, 5 * 86_400.0))
    assert intake.queue.keys_needed_from() <= today - timedelta(days=6)


def test_a_node_whose_clock_is_days_off_seals_by_the_servers_day_and_destroys_no_key_of_it(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = here
    seals, today = node.intake._seals, now().date().isoformat()
    seals.seal("queue", Taken("sendgrid", now(), {}, b"something"))
    for days in (3, -3):
        off = SimpleNamespace(time=lambda days=days: time.time() + days * 86_400, monotonic=time.monotonic)
        monkeypatch.setattr(server_clock, "time", off)
        sealed = seals.seal("queue", Taken("sendgrid", now(), {}, b"something"))
        assert sealed.startswith(today.encode())
        assert node.intake.sweep() == 0
        assert seals.open("queue", "sendgrid", sealed)[0].body == b"something"


def test_a_clock_that_was_set_is_compared_with_the_servers_off_the_loop_of_the_door(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = here
    clock, looked = node.intake._seals.clock, list[int]()
    look = clock.look

    def noted() -> None:
        looked.append(threading.get_ident())
        look()

    node.intake.queue.put(Taken("sendgrid", now(), {}, b"[]"))
    monkeypatch.setattr(clock, "look", noted)
    off = SimpleNamespace(time=lambda: time.time() + 3_600, monotonic=time.monotonic)
    monkeypatch.setattr(server_clock, "time", off)
    asyncio.run(node.intake.reception.take(Taken("sendgrid", now(), {}, b"[]")))
    assert looked
    assert threading.get_ident() not in looked
    emptied(node)


def test_a_long_delivery_is_sealed_while_all_other_threads_are_held(here: Running) -> None:
    """Those of the loop of the door, which other routes have as well."""
    node, _ = here
    long = Taken("sendgrid", now(), {}, b"[" + b" " * 2 * SHORT_BYTES + b"]")

    async def door() -> None:
        with ThreadPoolExecutor(1) as threads:
            loop, go_on = asyncio.get_running_loop(), threading.Event()
            loop.set_default_executor(threads)
            held = loop.run_in_executor(None, go_on.wait, 60)
            try:
                await asyncio.wait_for(node.intake.reception.take(long), 30)
                assert not held.done()
            finally:
                go_on.set()

    asyncio.run(door())
    emptied(node)


def test_what_waits_when_a_node_stops_is_recorded_by_the_next(here: Running) -> None:
    node, _ = here
    before = node.ledger.last_seq()
    node.intake.stop()
    for _ in range(300):
        delivery = of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now())
        node.intake.queue.put(Taken("sendgrid", now(), delivery.headers, delivery.body))
    for _ in range(3):
        node._start_intake()
        node.intake.stop()
    node._start_intake()
    begun = time.monotonic()
    emptied(node)
    assert time.monotonic() - begun < infra_ingest.ACK_WAIT_S, "it was returned, and not waited for until it is late"
    assert node.ledger.last_seq() == before + 300


def test_status_and_metrics_tell_of_what_waits_and_what_came_of_it(here: Running) -> None:
    node, http = here
    post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now()))
    emptied(node)
    status = http.get("/v1/status").json()["ingest"]
    assert status["providers"] == sorted(node.intake.secrets.all())
    assert (status["waiting"], status["failure"]) == (0, None)
    assert status["since_start"]["received"] >= 1
    text = http.get("/metrics").text
    assert 'rapport_webhooks_total{outcome="accepted",provider="sendgrid"}' in text
    assert "rapport_webhooks_waiting 0.0" in text
    assert "example.com" not in text


# ── those that belong to others than mail providers ──


def test_an_opt_out_without_a_time_is_one_event_however_often_it_is_delivered(here: Running) -> None:
    """Greenhouse gives no time to it and tries for 15 hours: it is said when its delivery first came."""
    node, http = here
    node.intake.secrets.add("greenhouse", test_webhooks_greenhouse.SECRET)
    body = {"action": "update_candidate", "payload": {"candidate": {"id": 77, "can_email": False, "tags": []}}}
    delivery, before = test_webhooks_greenhouse.sent(body), node.ledger.last_seq()
    for _ in range(3):
        assert post(http, "greenhouse", delivery).status_code == 202
        emptied(node)
    assert node.ledger.last_seq() == before + 1


def opted_out_of(who: str, *others: str) -> Delivery:
    """Greenhouse saying that the person behind the number that `who` begins with may not be emailed."""
    emails = [{"value": email, "type": "personal"} for email in (who, *others)]
    number = int(who.partition("@")[0], 16)
    candidate = {"id": number, "can_email": False, "email_addresses": emails, "tags": []}
    return test_webhooks_greenhouse.sent({"action": "update_candidate", "payload": {"candidate": candidate}})


def status_of(node: Node, http: httpx.Client, who: str) -> str:
    node.wait_for(node.ledger.last_seq())
    id_ = node.recording.resolve(_reference(who))
    answer = http.get(f"/v1/compliance/candidates/{id_}/contactability", params={"channel": "email"})
    return str(answer.json()["status"])


def test_an_opt_out_counts_for_whoever_is_known_by_any_of_the_addresses(here: Running) -> None:
    node, http = here
    node.intake.secrets.add("greenhouse", test_webhooks_greenhouse.SECRET)
    first, second, third = (f"{uuid4().hex[:10]}@example.com" for _ in range(3))
    record(http, did("sourced", first), did("sourced", second))
    post(http, "greenhouse", opted_out_of(first, second, third))
    emptied(node)
    assert [status_of(node, http, who) for who in (first, second, third)] == ["opted_out"] * 3


def test_the_same_bytes_after_an_opt_in_opt_out_again_and_only_once(here: Running) -> None:
    """Nobody can tell what is sent again from what is said again."""
    node, http = here
    node.intake.secrets.add("greenhouse", test_webhooks_greenhouse.SECRET)
    who = f"{uuid4().hex[:10]}@example.com"
    delivery = opted_out_of(who)
    post(http, "greenhouse", delivery)
    emptied(node)
    assert status_of(node, http, who) == "opted_out"
    record(http, did("opted_in", who, now().isoformat(), channel="email", evidence="a call"))
    assert status_of(node, http, who) != "opted_out"
    before = node.ledger.last_seq()
    for _ in range(3):
        post(http, "greenhouse", delivery)
        emptied(node)
    assert status_of(node, http, who) == "opted_out"
    assert node.ledger.last_seq() == before + 1


def test_an_opt_out_dated_days_ahead_holds_at_once(here: Running) -> None:
    node, http = here
    who = somebody()
    ahead = int((now() + timedelta(days=9)).timestamp())
    post(http, "sendgrid", of_sendgrid([sendgrid_event("unsubscribe", uuid4().hex, email=who, timestamp=ahead)], now()))
    emptied(node)
    assert status_of(node, http, who) == "opted_out"


def test_what_cannot_be_opened_is_waited_for_kept_and_goes_back_as_it_was(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    monkeypatch.setattr(settling, "backoff_s", lambda *_: 0.01)
    before, known = node.ledger.last_seq(), {letter["id"] for letter in letters(http)}
    attempts = [0]
    opened = node.intake.queue.open

    def without_its_key(provider: str, stored: bytes) -> Taken:
        attempts[0] += 1
        raise SealBrokenError("the key of its day is gone")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(node.intake.queue, "open", without_its_key)
        post(http, "sendgrid", of_sendgrid([sendgrid_event(id_=uuid4().hex, email=somebody())], now()))
        emptied(node)
        assert attempts == [trying.UNOPENED_ATTEMPTS]
        for _ in range(2):
            (letter,) = [found for found in letters(http) if found["id"] not in known]
            http.post("/v1/dead-letters/retry", json={"letters": [letter["id"]]}).raise_for_status()
            emptied(node)
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert node.intake.queue.open == opened
    http.post("/v1/dead-letters/retry", json={"letters": [letter["id"]]}).raise_for_status()
    emptied(node)
    assert node.ledger.last_seq() == before + 1
    assert {found["id"] for found in letters(http)} == known


def test_a_letter_too_large_for_the_server_is_kept_without_its_headers(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    known, add = {letter["id"] for letter in letters(http)}, node.intake.letters.add

    def limited(taken: Taken, *args: Any, **options: Any) -> None:
        if taken.headers:
            raise DataError("over max_payload")
        add(taken, *args, **options)

    monkeypatch.setattr(node.intake.letters, "add", limited)
    marker = uuid4().hex
    post(http, "sendgrid", of_sendgrid({"no": marker}, now()))
    emptied(node)
    (letter,) = [found for found in letters(http) if found["id"] not in known]
    assert letter["reasons"][0] == "unreadable: the body should be a JSON array of events"
    assert marker in http.get(f"/v1/dead-letters/{letter['id']}").json()["body"]


def test_what_nobody_can_read_and_names_somebody_erased_is_not_kept(here: Running) -> None:
    node, http = here
    who, other = somebody(), somebody()
    node.wait_for(record(http, did("sourced", who)))
    http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "consent_withdrawn"}).raise_for_status()
    known, counted = {letter["id"] for letter in letters(http)}, node.intake.counted.totals().get("erased", 0)
    kind = uuid4().hex[:8]
    for address in (who.upper(), other):
        post(http, "sendgrid", of_sendgrid({"about": f"mailto:{address}?x"}, now()))
        post(http, "sendgrid", of_sendgrid([sendgrid_event(kind, email=address)], now()))
    emptied(node)
    assert len([letter for letter in letters(http) if letter["id"] not in known]) == 1
    (found,) = [k for k in http.get("/v1/webhook-kinds").json()["kinds"] if k["kind"] == kind]
    assert found["count"] == 1
    assert node.intake.counted.totals()["erased"] == counted + 2


def test_what_the_other_providers_document_is_recorded_and_repeated_adds_nothing(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the samples of the modules' own tests, once in their order and then three times shuffled. A merge of people
    whom nobody told of is kept as a letter."""
    node, _ = here
    monkeypatch.setattr(settling, "backoff_s", lambda *_: 0.01)
    monkeypatch.setattr(trying, "EARLY_FOR_S", 0.0)
    sent = [("lever", test_webhooks_lever.sent(body)) for body in test_webhooks_lever.ALL]
    sent += [("ashby", test_webhooks_ashby.sent(body)) for body in test_webhooks_ashby.ALL]
    sent += [("resend", test_webhooks_resend.sent(test_webhooks_resend.CLICKED))]
    sent += [("resend", test_webhooks_resend.sent(test_webhooks_resend.BOUNCED, id_="msg_2"))]
    attended = test_webhooks_standard.signed(test_webhooks_standard.ATTENDED, test_webhooks_standard.SECRET)
    sent += [("standard", attended)]
    sent += [("greenhouse", test_webhooks_greenhouse.sent(body)) for body in test_webhooks_greenhouse.ALL]
    records = [h.record for name, d in sent for h in node.intake.providers[name].read(d) if h.record is not None]
    distinct = {(r["id"], r["type"]) for r in records}
    before = node.ledger.last_seq()

    def put(deliveries: list[tuple[str, Delivery]]) -> int:
        for name, delivery in deliveries:
            node.intake.queue.put(Taken(name, delivery.received_at, delivery.headers, delivery.body))
        emptied(node)
        return node.ledger.last_seq() - before

    once = put(sent)
    assert len(distinct) - sum(type_ == "merged" for _, type_ in distinct) <= once <= len(distinct)
    shuffled = sent * 3
    random.Random(11).shuffle(shuffled)
    assert put(shuffled) == once


def test_the_days_for_which_letters_are_kept_may_be_changed(here: Running) -> None:
    node, _ = here
    for days in (5, 30):
        Letters(node.connection, node.intake._seals, days)
        config = node.connection.call(node.connection.api("STREAM.INFO.INGEST_DEAD"))["config"]
        assert config["max_age"] == days * 86_400 * 10**9
