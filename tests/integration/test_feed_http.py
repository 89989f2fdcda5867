"""The feed of a running node: what readers over HTTP get, what is told of views, and what recipients acknowledge."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jsonschema_rs
import pytest

from api.cli.client import client_of, served
from api.http import streams as reading
from api.http.roles import Role
from api.node import Node
from consumers import announcing
from domain.event import utc_now
from domain.published_schemas import schemas
from infra.logging import configure
from infra.settings import Settings
from projections import announcing as projected
from tests.integration.test_http import did, get, is_problem, record, running, somebody

MARKER = "Qwyzzle"


@pytest.fixture(scope="module", autouse=True)
def in_haste() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(announcing, "EVERY_S", 0.02)
        patch.setattr(announcing, "LOOK_EVERY_S", 0.05)
        patch.setattr(announcing, "REST", 0)
        patch.setenv("RAPPORT_FEED_BANDS_EVERY_S", "1")
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("feed")) as found:
        yield found


@pytest.fixture
def node(here: tuple[Node, httpx.Client]) -> Node:
    return here[0]


@pytest.fixture
def http(here: tuple[Node, httpx.Client]) -> httpx.Client:
    return here[1]


def until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def relayed(http: httpx.Client) -> int:
    """The feed's last position, when everything recorded so far is on it."""
    until(lambda: get(http, "/v1/status")["feed"]["lag_events"] == 0)
    last: int = get(http, "/v1/status")["feed"]["last"]
    return last


def all_of(http: httpx.Client, after: int = 0, **params: Any) -> list[dict[str, Any]]:
    """Every message behind a position, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = get(http, "/v1/feed/events", after=after, limit=7, **params)
        found += page["events"]
        if page["next"] == after:
            return found
        after = page["next"]


def streamed(http: httpx.Client, count: int, last: str | None = None, **params: Any) -> list[tuple[int, str, Any]]:
    """The first `count` events of the stream: id, type, CloudEvent."""
    found: list[tuple[int, str, Any]] = []
    headers = {} if last is None else {"Last-Event-ID": last}
    with http.stream("GET", "/v1/feed", params=params, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                if len(found) == count:
                    break
            fields = fields if line else {}
    return found


def told(http: httpx.Client, after: int, *kinds: str) -> list[tuple[str, Any]]:
    """What was told of views behind a position: type and `data`."""
    return [
        (e["type"], e["event"]["data"]) for e in all_of(http, after, types=list(kinds) or ["pool.*", "engagement.*"])
    ]


def pool_of(http: httpx.Client, **rule: Any) -> str:
    answer = http.post("/v1/pools", json={"name": uuid4().hex, "rule": rule})
    pool: str = answer.json()["pool"]
    return pool


def id_of(http: httpx.Client, who: str, seq: int) -> str:
    found: str = get(http, f"/v1/candidates/{who}", min_seq=seq)["canonical_id"]
    return found


# ── what comes ──


def test_the_stream_and_the_pages_hold_the_same_and_every_message_is_as_its_schema_has_it(http: httpx.Client) -> None:
    who = somebody()
    after = relayed(http)
    record(
        http,
        did("sourced", who, source="ats", first_name=MARKER, actor=f"user:{MARKER}", id=f"{MARKER}:1"),
        did("tagged", who, tag=MARKER),
        did("replied", who, text=MARKER),
        did("opted_out", who, channel="email", method="link"),
        did("profile_corrected", who, last_name=MARKER),
    )
    relayed(http)
    kinds = ["candidate.*", "compliance.opted_out", "compliance.rectified"]
    pages = all_of(http, after, types=kinds)
    types = ["sourced", "tagged", "replied", "opted_out", "profile_corrected"]
    assert [e["type"].partition(".")[2] for e in pages if e["type"].startswith("candidate.")] == types
    assert streamed(http, len(pages), after=after, types=kinds) == [
        (e["position"], e["type"], e["event"]) for e in pages
    ]
    for message in all_of(http):
        event = message["event"]
        schema = http.get(event["dataschema"].removeprefix("http://127.0.0.1:8642"))
        assert schema.headers["content-type"] == "application/schema+json"
        assert schema.json()["$id"] == event["dataschema"]
        jsonschema_rs.validate(schema.json(), event["data"])
        assert (event["specversion"], event["type"]) == ("1.0", f"rapport.{message['type']}.v1")
    assert MARKER not in json.dumps(all_of(http))
    assert who not in json.dumps(all_of(http))


def test_a_reader_that_comes_back_gets_what_it_missed_and_nothing_twice(http: httpx.Client) -> None:
    who = somebody()
    start = relayed(http)
    record(http, did("sourced", who, source="ats"), *(did("tagged", who, tag=f"t{n}") for n in range(9)))
    relayed(http)
    first = streamed(http, 4, after=start, types=["candidate.*"])
    rest = streamed(http, 6, last=str(first[-1][0]), after=0, types=["candidate.*"])
    whole = streamed(http, 10, after=start, types=["candidate.*"])
    assert first + rest == whole
    assert [e["id"] for _, _, e in whole] == sorted({e["id"] for _, _, e in whole}, key=int)


def test_without_a_position_only_what_comes_is_read_and_that_at_once(http: httpx.Client) -> None:
    record(http, did("sourced", somebody(), source="before"))
    relayed(http)
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(streamed(http, 1, types=["candidate.sourced"])))
    reader.start()
    streams: reading.Streams = http_streams(http)
    until(lambda: streams._open)
    record(http, did("sourced", somebody(), source="after"))
    reader.join(30)
    assert [e["data"]["source"] for _, _, e in found] == ["after"]
    until(lambda: not streams._open)


def http_streams(http: httpx.Client) -> reading.Streams:
    """Of the application that answers."""

    (streams,) = [o for o in gc.get_objects() if isinstance(o, reading.Streams) and not o._ended]
    return streams


def test_a_position_that_passes_by_is_told_to_who_wants_something_else(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HEARTBEAT_S", 0.0)
    last = relayed(http)
    with http.stream("GET", "/v1/feed", params={"after": 0, "types": "candidate.unreadable"}) as answer:
        for line in answer.iter_lines():
            if line == f"id: {last}":
                break


def test_an_empty_last_position_is_none(http: httpx.Client) -> None:
    """As a client sends it that has had no event yet."""
    record(http, did("sourced", somebody(), source="ats"))
    relayed(http)
    assert [position for position, _, _ in streamed(http, 1, last="", after=0)] == [1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "http://127.0.0.1:8642"),
        ({"port": 9000}, "http://127.0.0.1:9000"),
        ({"port": 0}, "http://127.0.0.1:8642"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000"),  # noqa: S104 - where it would listen
        ({"host": "fd00::1"}, "http://[fd00::1]:8642"),
        ({"port": 9000, "public_url": "https://crm.example.com/x"}, "https://crm.example.com/x"),
    ],
)
def test_a_feed_is_named_by_what_outlasts_a_restart(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], named: str
) -> None:
    monkeypatch.delenv("RAPPORT_PORT", raising=False)
    monkeypatch.delenv("RAPPORT_PUBLIC_URL", raising=False)
    assert Settings().model_copy(update=given).feed_url == named


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "９", "1" * 30])
def test_what_is_no_position_is_refused(http: httpx.Client, given: str) -> None:
    headers = {"Last-Event-ID": given.encode()}
    is_problem(http.get("/v1/feed", headers=headers), 422, "invalid-request")


def test_a_position_of_another_feed_and_a_type_that_cannot_be_are_refused(http: httpx.Client) -> None:
    is_problem(http.get("/v1/feed", params={"after": 10**9}), 409, "feed-position-unknown")
    is_problem(http.get("/v1/feed/events", params={"after": 10**9}), 409, "feed-position-unknown")
    is_problem(http.get("/v1/feed", params={"types": "Pool joined"}), 422, "invalid-request")
    for path in ("/v1/feed", "/v1/feed/events"):
        for nothing in ("pool.joind", "candidate", "feed.*", "pool.joined.>"):
            refused = http.get(path, params=[("types", "pool.*"), ("types", nothing)])
            assert "nothing published is of this type" in is_problem(refused, 422, "invalid-request")


def test_more_readers_than_a_node_takes_are_asked_to_come_back(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST", 0)
    refused = http.get("/v1/feed")
    is_problem(refused, 503, "feed-busy")
    assert refused.headers["retry-after"]


def test_one_caller_takes_no_more_places_than_its_own(
    node: Node, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many it asks for in the same moment; and others find places."""
    until(lambda: not http_streams(http)._open)
    monkeypatch.setattr(reading, "MOST_OF_ONE", 2)
    seen = threading.Barrier(10)

    def read(number: int) -> tuple[int, bytes]:
        with http.stream("GET", "/v1/feed", params={"after": 0}) as answer:
            pieces = answer.iter_bytes()  # which would close the stream if nothing held on to it
            first = next(pieces, b"")
            seen.wait(30)
            if number == 0:
                with client_of(str(http.base_url), node.settings, Role.ANALYST) as other:
                    assert len(streamed(other, 1, after=0)) == 1
            seen.wait(30)
            return answer.status_code, first

    record(http, did("sourced", somebody(), source="ats"))
    relayed(http)
    with ThreadPoolExecutor(10) as callers:
        answers = list(callers.map(read, range(10)))
    assert sum(first.startswith(b"retry") for _, first in answers) == 2
    assert {status for status, first in answers if not first.startswith(b"retry")} <= {200, 503}
    until(lambda: not http_streams(http)._open)
    assert len(streamed(http, 1, after=0)) == 1


def test_the_documents_are_open_and_the_feed_is_not(http: httpx.Client) -> None:
    with httpx.Client(base_url=http.base_url, trust_env=False) as nobody:
        for path in ("/asyncapi.json", "/v1/feed/docs", "/v1/feed/schemas/pool.left/1"):
            assert nobody.get(path).status_code == 200, path
        is_problem(nobody.get("/v1/feed/schemas/pool.left/2"), 404, "unknown-schema")
        for path in ("/v1/feed", "/v1/feed/events", "/v1/feed/acknowledgements"):
            is_problem(nobody.get(path), 401, "no-token")


def test_signed_checkpoints_are_told(http: httpx.Client, node: Node) -> None:
    seq = record(http, did("sourced", somebody(), source="ats"))
    node.wait_for(seq)
    note, checkpoint = node.notary.covering(seq)
    until(lambda: note in [e["event"]["data"]["note"] for e in all_of(http, types=["compliance.checkpoint"])])
    said = all_of(http, types=["compliance.checkpoint"])[-1]["event"]["data"]
    assert said == {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(), "note": note}


# ── what is told of views ──


def test_who_comes_into_a_pool_and_leaves_it_is_told_with_the_event_that_decided(http: httpx.Client) -> None:
    who, start = somebody(), relayed(http)
    pool = pool_of(http, any=[{"tag": "rust"}])
    seq = record(http, did("sourced", who, source="ats"), did("tagged", who, at=utc_now().isoformat(), tag="rust"))
    person = id_of(http, who, seq)
    until(lambda: told(http, start, "pool.joined"))
    out = record(http, did("untagged", who, at=utc_now().isoformat(), tag="rust"))
    until(lambda: told(http, start, "pool.left"))
    assert [(t, d["pool"], d["candidate"], d.get("seq")) for t, d in told(http, start, "pool.*")] == [
        ("pool.joined", pool, person, seq),
        ("pool.left", pool, person, out),
    ]
    order = [(e["type"], e["event"]["data"].get("seq")) for e in all_of(http, start)]
    assert order.index(("candidate.tagged", seq)) < order.index(("pool.joined", seq)), "behind what decided it"


def test_a_merge_moves_the_membership_to_the_record_that_stands_for_both(http: httpx.Client) -> None:
    kept, other, start = somebody(), somebody(), relayed(http)
    pool = pool_of(http, any=[{"tag": "cobol"}])
    seq = record(
        http, did("sourced", kept, source="a"), did("sourced", other, source="a"), did("tagged", other, tag="cobol")
    )
    ids = id_of(http, kept, seq), id_of(http, other, seq)
    until(lambda: len(told(http, start, "pool.*")) == 1)
    assert http.post(f"/v1/candidates/{other}/merge", json={"into": kept}).is_success
    until(lambda: len(told(http, start, "pool.*")) == 3)
    changes = sorted((t, d["candidate"]) for t, d in told(http, start, "pool.*")[1:])
    assert changes == [("pool.joined", ids[0]), ("pool.left", ids[1])]
    assert {d["pool"] for _, d in told(http, start, "pool.*")} == {pool}


def test_a_band_that_changes_is_told(http: httpx.Client, node: Node) -> None:
    who, start = somebody(), relayed(http)
    now = utc_now() - timedelta(minutes=1)
    seq = record(http, did("sourced", who, at=now.isoformat(), source="ats"), did("replied", who, at=now.isoformat()))
    person = id_of(http, who, seq)
    until(lambda: told(http, start, "engagement.*"))
    ((_, said),) = told(http, start, "engagement.*")
    assert (said["candidate"], said["from"], said["to"], said["score"]) == (person, "cold", "hot", 63.2)


# ── Art. 19 ──


def acknowledge(http: httpx.Client, recipient: str, id_: str) -> httpx.Response:
    return http.post("/v1/feed/acknowledgements", json={"recipient": recipient, "id": id_})


def test_a_recipient_acknowledges_on_the_record_as_long_as_there_is_one(http: httpx.Client) -> None:
    who = somebody()
    matter = uuid4().hex
    record(http, did("sourced", who, source="ats"))
    seq = record(http, did("restricted", who, ground="unlawful", request=matter))
    first = acknowledge(http, "greenhouse", f"{seq}/restricted")
    assert (first.status_code, first.json()["status"]) == (201, "accepted")
    again = acknowledge(http, "greenhouse", f"{seq}/restricted")
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert acknowledge(http, "lever", f"{seq}/restricted").status_code == 201
    relayed(http)
    said = [e["event"]["data"] for e in all_of(http, types=["candidate.recipient_notified"])][-2:]
    assert [(d["recipient"], d["about"], d["acknowledged"], d["request"]) for d in said] == [
        ("greenhouse", "restriction", True, matter),
        ("lever", "restriction", True, matter),
    ]


def test_of_somebody_erased_the_acknowledgement_is_kept_beside_the_record(http: httpx.Client) -> None:
    who = somebody()
    seq = record(http, did("sourced", who, source="ats"), did("profile_corrected", who, last_name="Byron"))
    person = id_of(http, who, seq)
    start = relayed(http)
    erased = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "objection"})
    assert erased.is_success, erased.text
    until(lambda: all_of(http, start, types=["compliance.erased"]))
    (message,) = all_of(http, start, types=["compliance.erased"])
    assert message["event"]["subject"] == person
    for id_, about in ((message["event"]["id"], "erasure"), (f"{seq}/rectified", "rectification")):
        assert acknowledge(http, "greenhouse", id_).status_code == 201
        assert acknowledge(http, "greenhouse", id_).status_code == 200
        kept = [a for a in get(http, "/v1/feed/acknowledgements")["acknowledgements"] if a["message"] == id_]
        assert [(a["recipient"], a["about"], a["candidate"]) for a in kept] == [("greenhouse", about, person)]
    first = get(http, "/v1/feed/acknowledgements", limit=1)
    rest = get(http, "/v1/feed/acknowledgements", after=first["next"])
    whole = get(http, "/v1/feed/acknowledgements")
    assert (first["acknowledgements"] + rest["acknowledgements"], rest["next"]) == (whole["acknowledgements"], None)


@pytest.mark.parametrize("id_", ["", "x", "0/erased", "999999/erased", "1", "1/erased", "1/checkpoint", "feed/3"])
def test_what_the_feed_never_asked_to_be_done_cannot_be_acknowledged(http: httpx.Client, id_: str) -> None:
    record(http, did("sourced", somebody(), source="ats"))
    is_problem(acknowledge(http, "greenhouse", id_), 404, "unknown-message")


def test_an_analyst_cannot_acknowledge(http: httpx.Client, node: Node) -> None:
    with client_of(str(http.base_url), node.settings, Role.ANALYST) as analyst:
        is_problem(acknowledge(analyst, "greenhouse", "1/erased"), 403, "role-refused")
        assert analyst.get("/v1/feed/events").status_code == 200


# ── the end ──


def test_a_node_that_stops_ends_its_readers_streams(tmp_path: Path) -> None:
    ended: list[str] = []
    configure("error")
    settings = Settings(data=tmp_path / "node", port=0)

    def read(url: str) -> None:
        with client_of(url, settings) as http, http.stream("GET", "/v1/feed", params={"after": 0}) as answer:
            for line in answer.iter_lines():
                ended.append(line)
        ended.append("over")

    with Node(settings) as node:
        with served(node) as url:
            reader = threading.Thread(target=read, args=(url,))
            reader.start()
            until(lambda: ended)
            began = time.monotonic()
        reader.join(30)
        took_s = time.monotonic() - began
    assert ended[-1] == "over", "and not by a broken connection"
    assert took_s < 9.0, "it did not wait until it was cut off"


def test_every_published_type_has_a_channel(http: httpx.Client) -> None:
    assert set(get(http, "/asyncapi.json")["channels"]) == {*schemas(), "sse"}


# ── docs/feed.md ──

DOCS = Path(__file__).parents[2] / "docs" / "feed.md"


def block(language: str, number: int = 0) -> str:
    """A block of code in the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)[number]


def test_the_document_sends_readers_over_nats_where_the_program_is_that_a_key_of_their_own_runs() -> None:
    """That program is run by the tests of subscribers."""
    page, section = re.findall(r"\]\((subscribers\.md)#([a-z-]+)\)", DOCS.read_text())[0]
    there = DOCS.with_name(page).read_text()
    headings = re.split(r"^## (.*)$", there, flags=re.MULTILINE)[1:]
    sections = {
        title.lower().replace(" ", "-"): text for title, text in zip(headings[::2], headings[1::2], strict=True)
    }
    assert "```python\n" in sections[section]
    assert "```python\n" not in DOCS.read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_examples_with_curl_do_what_they_say(http: httpx.Client) -> None:
    who = somebody()
    seq = record(http, *(did(t, who, source="ats") for t in ("sourced", "profile_corrected")))
    relayed(http)
    token = http.headers["authorization"].partition(" ")[2]
    environment = os.environ | {"TOKEN": token, "RAPPORT": str(http.base_url).rstrip("/")}
    reading_ = ["timeout", "30", "sh", "-c", f"exec {block('sh')}"]
    with subprocess.Popen(reading_, stdout=subprocess.PIPE, env=environment) as curl:
        assert curl.stdout is not None
        read = list[bytes]()
        while read[-1:] != [b"event: candidate.sourced\n"]:
            read.append(curl.stdout.readline())
            assert read[-1], "it ended by itself"
        curl.terminate()
    assert not any(line.startswith(b"event: pool.") for line in read)
    command = block("sh", 1).replace("1042/erased", f"{seq}/rectified")
    done = subprocess.run(["sh", "-c", command], capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout)["status"] == "accepted"


def test_the_example_of_a_message_is_as_its_schema_has_it() -> None:
    event = json.loads(block("json"))
    type_ = event["type"].removeprefix("rapport.").removesuffix(".v1")
    jsonschema_rs.validate(dict(schemas()[type_]), event["data"])
    assert event["dataschema"].endswith(f"/{type_}/1")


def test_the_document_names_every_kind_of_message_and_no_other() -> None:
    text = DOCS.read_text()
    kinds = {type_ for type_ in schemas() if not type_.startswith("candidate.")} | {"candidate.unreadable"}
    for type_ in kinds:
        assert f"feed.{type_}" in text or type_.partition(".")[2] in text, type_


# ── what was lost ──


def settled(node: Node, http: httpx.Client) -> int:
    """The feed's last position, when its last message says that all was told that the views said."""
    until(lambda: node.relay.end.place.settled == node.relay.end.place.derived)
    record(http, did("sourced", somebody(), source="carries the place on"))
    return relayed(http)


@pytest.mark.parametrize("messages_go", [False, True])
def test_who_has_lost_what_was_told_of_views_tells_nothing_twice_and_misses_nothing(
    here: tuple[Node, httpx.Client], messages_go: bool
) -> None:
    """As with a views' file of its own, new or lost: it folds the feed's messages; where these were removed, being old,
    it computes what they said. Meanwhile somebody left.
    """
    node, http = here
    start, tag = relayed(http), f"lost-{messages_go}"
    pool, who = pool_of(http, any=[{"tag": tag}]), [somebody() for _ in range(3)]
    at = utc_now().isoformat()
    record(
        http, *(did(t, w, at=at, **more) for w in who for t, more in (("sourced", {"source": "a"}), ("replied", {})))
    )
    seq = record(http, *(did("tagged", w, at=at, tag=tag) for w in who))
    until(lambda: len(told(http, start, "pool.*")) == len(told(http, start, "engagement.*")) == 3)
    start = settled(node, http)
    node.announcing.stop()
    leaver = id_of(http, who[0], seq)
    node.wait_for(record(http, did("untagged", who[0], at=utc_now().isoformat(), tag=tag)))
    relayed(http)
    if messages_go:
        last = node.feed.end().seq
        assert node.feed.retain(utc_now() + timedelta(days=1)) > 0
        is_problem(http.get("/v1/feed/events", params={"after": 1}), 410, "feed-aged-out")
        gone = http.get("/v1/feed", headers={"Last-Event-ID": "1"})
        is_problem(gone, 410, "feed-aged-out")
        assert gone.json()["first"] == last == streamed(http, 1, after=0)[0][0]
        is_problem(http.get("/v1/feed", headers={"Last-Event-ID": "0"}), 410, "feed-aged-out")
    with node.projector.cursor() as cursor:
        cursor.execute("delete from ops.announced; delete from ops.announced_members; delete from ops.announced_bands")
    again = announcing.Announcing(node._views.cursor, lambda: node.projector.known, node.feed, node.relay, 1.0)
    node._stack.callback(again.stop)
    node.announcing = again
    again.start()
    until(lambda: told(http, start, "pool.*"))
    settled(node, http)
    assert [(t, d["pool"], d["candidate"]) for t, d in told(http, start)] == [("pool.left", pool, leaver)]


# ── two nodes ──


def test_a_node_that_takes_over_with_older_views_takes_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of one ledger relay and compare; the one that told by newer views ends, and the other goes on."""
    configure("error")
    looks: list[int] = []
    seen = projected.views_seq
    monkeypatch.setattr(projected, "views_seq", lambda cursor: looks.append(found := seen(cursor)) or found)
    with (
        Node(Settings(data=tmp_path / "one", port=0)) as one,
        served(one) as url,
        client_of(url, one.settings) as http,
    ):
        assert one.server is not None
        cluster = {"nats_url": one.server.url, "nats_sync": "unasserted"}
        cluster["master_key"] = (tmp_path / "one" / "master.key").read_text().strip()
        with Node(Settings(data=tmp_path / "two", port=0, **cluster)) as two:
            pool = pool_of(http, any=[{"tag": "go"}])
            who = [somebody() for _ in range(20)]
            last = record(http, *(did("sourced", w, source="a") for w in who))
            two.wait_for(last)
            with two.projector.lock:  # so that its views fall behind
                at = utc_now().isoformat()
                last = record(http, *(did("tagged", w, at=at, tag="go") for w in who))
                until(lambda: len(inside(http, pool)) == len(who))
                one.announcing.stop()
                one.relay.stop()
                until(lambda: two.relay.is_active)
                looks.clear()
                until(lambda: looks.count(two.projector.checkpoint) >= 3)  # it looks, at older views
            two.wait_for(last)
            at = utc_now().isoformat()
            last = record(http, *(did("untagged", w, at=at, tag="go") for w in who[1:]))
            until(lambda: len(inside(http, pool)) == 1)
            said = [type_ for type_, _ in told(http, 0, "pool.*")]
            assert said == ["pool.joined"] * 20 + ["pool.left"] * 19
            of_candidates = [e["event"]["data"]["seq"] for e in all_of(http, types=["candidate.*"])]
            assert of_candidates == list(range(2, last + 1)), "the first is the pool's"
            assert (one.relay.failure, two.relay.failure, two.announcing.failure) == (None, None, None)


def inside(http: httpx.Client, pool: str) -> set[str]:
    """Who is in the pool by what was told; nobody joins twice, or leaves twice."""
    found: set[str] = set()
    for type_, said in told(http, 0, "pool.*"):
        assert said["pool"] == pool
        assert (said["candidate"] in found) == (type_ == "pool.left")
        found ^= {said["candidate"]}
    return found
