"""Traces: what a collector is told of a request and of what came of it, and what it is never told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from api.node import Node
from consumers import delivering
from domain.event import utc_now
from infra import spans, tracing
from tests.integration.test_feed_http import until
from tests.integration.test_http import did, post, running
from tests.receiver import receiver
from tests.unit.test_webhooks_standard import ATTENDED, SECRET, signed

MARK = "markhildegard"
SERVER, CLIENT, ERROR = 2, 3, 2


class Told(NamedTuple):
    """A span as the collector has it."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    kind: int
    status: int
    said: dict[str, Any]

    def belongs_to(self, request: Told) -> bool:
        return self.trace == request.trace and (request.trace, request.id) in self.links


class Collector:
    """A real OTLP receiver on loopback."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, Any]] = []
        self.url = ""
        self.lock = Lock()
        self.status = 200
        self.asked, self.goes_on = Event(), Event()
        self.goes_on.set()

    def spans(self) -> list[Told]:
        with self.lock:
            return [span for body in self.bodies for span in told(body)]

    def span(self, name: str, trace: str) -> Told:
        """The one of this name that is in this trace."""
        until(lambda: any((s.name, s.trace) == (name, trace) for s in self.spans()))
        (found,) = [s for s in self.spans() if (s.name, s.trace) == (name, trace)]
        return found


def values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


def told(body: bytes) -> Iterator[Told]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for s in scope.spans:
                assert not s.events, "what an error says may be personal"
                assert not s.trace_state
                links = [(link.trace_id.hex(), link.span_id.hex()) for link in s.links]
                ids = s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex()
                yield Told(s.name, *ids, links, s.kind, s.status.code, values(s.attributes))


@contextmanager
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.asked.set()
            found.goes_on.wait(20)
            with found.lock:
                found.paths.add(self.path)
                if self.path == "/v1/traces":
                    found.bodies.append(body)
            try:
                self.send_response(found.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client, Collector]]:
    with collector() as there, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # FastAPI's own spans would have paths
        patch.setenv("RAPPORT_CHECKPOINT_EVERY_S", "0")
        patch.setattr(delivering, "LOOK_EVERY_S", 0.1)
        patch.setattr(delivering, "PULL_S", 0.3)
        with running(tmp_path_factory.mktemp("tracing")) as (node, http):
            node.intake.secrets.add("standard", SECRET)
            yield node, http, there
    assert there.paths == {"/v1/traces"}, "nothing but traces is sent"


@pytest.fixture
def http(here: tuple[Node, httpx.Client, Collector]) -> httpx.Client:
    return here[1]


@pytest.fixture
def there(here: tuple[Node, httpx.Client, Collector]) -> Collector:
    return here[2]


# ── what a collector is told ──


def test_one_trace_leads_from_the_request_to_the_ledger_the_views_the_feed_and_a_subscriber(
    http: httpx.Client, there: Collector
) -> None:
    with receiver() as subscriber:
        address = {"name": "traced", "url": subscriber.answers("/in", 200), "allow_private": True}
        assert http.post("/v1/subscribers", json=address).status_code == 201
        answer = post(http, did("sourced", f"{uuid4().hex}@example.com", source="ats"))
        trace = answer.headers["X-Request-Id"]
        request = there.span("POST /v1/interactions", trace)
        record, append, project, relay, deliver = (
            there.span(name, trace) for name in ("record", "append", "project", "relay", "deliver")
        )
    assert not request.parent
    assert request.kind == SERVER
    assert request.said == {
        "http.request.method": "POST",
        "http.route": "/v1/interactions",
        "http.response.status_code": 201,
    }
    assert all(span.belongs_to(request) for span in (record, append, project, relay, deliver))
    assert append.parent == record.id
    assert {span.parent for span in (record, project, relay, deliver)} == {request.id}
    assert record.said == {"rapport.interactions": 1, "rapport.outcome.accepted": 1}
    assert append.said == project.said == {"rapport.events": 1}
    assert relay.said == {"rapport.messages": 1}
    assert deliver.kind == CLIENT
    assert deliver.said == {"rapport.subscriber": "traced", "rapport.attempt": 1, "http.response.status_code": 200}


def test_a_delivery_is_traced_from_the_door_to_the_ledger(http: httpx.Client, there: Collector, here: Any) -> None:
    sent = signed(ATTENDED, SECRET, id_=uuid4().hex, at=utc_now())
    answer = http.post("/v1/webhooks/standard", content=sent.body, headers=sent.headers)
    assert answer.status_code == 202, answer.text
    trace = answer.headers["X-Request-Id"]
    request = there.span("POST /v1/webhooks/{provider}", trace)
    settle, record = there.span("settle", trace), there.span("record", trace)
    assert settle.belongs_to(request)
    assert record.belongs_to(request)
    assert settle.said == {"rapport.deliveries": 1, "rapport.outcome.done": 1}


def test_what_a_request_does_itself_is_part_of_it(http: httpx.Client, there: Collector) -> None:
    answer = http.post("/v1/pools", json={"name": uuid4().hex, "rule": {"all": []}})
    assert answer.status_code == 201, answer.text
    trace = answer.headers["X-Request-Id"]
    assert there.span("append", trace).parent == there.span("POST /v1/pools", trace).id


def test_a_callers_trace_is_gone_on_with(http: httpx.Client, there: Collector) -> None:
    trace, above = uuid4().hex, uuid4().hex[:16]
    headers = {"traceparent": f"00-{trace}-{above}-01", "tracestate": f"vendor={MARK}", "baggage": f"who={MARK}"}
    assert http.get("/healthz", headers=headers).headers["X-Request-Id"] == trace
    assert there.span("GET /healthz", trace).parent == above


def test_what_a_caller_does_not_want_sampled_is_not(http: httpx.Client, there: Collector) -> None:
    unwanted, wanted = uuid4().hex, uuid4().hex
    for trace, flags in ((unwanted, "00"), (wanted, "01")):
        http.get("/healthz", headers={"traceparent": f"00-{trace}-{'1' * 16}-{flags}"})
    there.span("GET /healthz", wanted)
    assert unwanted not in {span.trace for span in there.spans()}


def test_nothing_that_somebody_sent_is_told_whatever_is_asked_and_however_it_ends(
    http: httpx.Client, there: Collector
) -> None:
    who = f"{MARK}@example.com"
    recorded = post(http, did("sourced", who, first_name=MARK, source="ats", actor=f"user:{MARK}", id=MARK))
    told_of = recorded.json()["candidate"]
    http.get(f"/v1/candidates/{who}", params={"as_of": MARK})
    http.get(f"/v1/candidates/{told_of}")
    http.get(f"/{MARK}/{who}?q={MARK}", headers={"Host": f"{MARK}.example"})
    http.post(f"/v1/webhooks/standard/{MARK}", content=MARK)
    http.post(f"/v1/webhooks/{MARK}", content=MARK)
    http.post("/v1/sql", json={"query": f"select '{MARK}'"})
    http.request(MARK.upper(), "/v1/interactions", content=MARK)
    post(http, {"type": MARK})
    last = http.get("/healthz", headers={"User-Agent": MARK, "Cookie": MARK}).headers["X-Request-Id"]
    there.span("project", recorded.headers["X-Request-Id"])
    there.span("GET /healthz", last)
    with there.lock:
        sent = b"".join(there.bodies)
    assert b"/v1/candidates/{ref}" in sent
    for marker in (MARK, MARK.upper(), told_of, "example.com"):
        assert marker.encode() not in sent
    assert bytes.fromhex(told_of) not in sent


def test_work_for_many_requests_is_linked_to_as_many_as_is_useful(there: Collector, here: Any) -> None:
    many = [uuid4().hex for _ in range(40)]
    with tracing.work("many", [None, "no id", "0" * 32, ["no text"], *many, *many]):
        pass
    until(lambda: any(s.name == "many" for s in there.spans()))
    (found,) = [s for s in there.spans() if s.name == "many"]
    assert [trace for trace, _ in found.links] == many[:32]
    assert not found.parent
    assert found.trace not in many


def test_of_what_fails_the_kind_is_told_and_nothing_more(there: Collector, here: Any) -> None:
    with pytest.raises(ValueError, match=MARK), tracing.work("fails"):
        raise ValueError(MARK)
    until(lambda: any(s.name == "fails" for s in there.spans()))
    (found,) = [s for s in there.spans() if s.name == "fails"]
    assert found.status == ERROR
    assert found.said == {"error.type": "ValueError"}


# ── a collector that is away ──


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process where nothing is traced yet."""
    monkeypatch.setattr(tracing, "_spans", None)
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def test_what_waits_when_a_node_stops_is_sent(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{there.url}/v1/traces")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        stop = tracing.start()
        assert tracing.is_on()
        with tracing.work("last"):
            pass
        stop()
        assert not tracing.is_on()
        assert [span.name for span in there.spans()] == ["last"]
        assert b"mine" in there.bodies[0]


def test_a_collector_that_does_not_answer_holds_nobody_up(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as there:
        there.goes_on.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
        stop = tracing.start()
        for _ in range(100):  # more than may wait
            with tracing.work("held"):
                pass
        assert there.asked.wait(30)
        stop()
        assert not there.bodies, "it still has not answered"


def test_that_a_collector_takes_nothing_is_said_once_and_so_is_that_it_does_again(
    alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(spans, "log", SimpleNamespace(warning=said.append, info=said.append))
    with collector() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
        traced = spans.Spans()
        for there.status in (200, 400, 400, 200, 200):
            with traced.work("sent", [], {}):
                pass
            traced._provider.force_flush()
        traced.close()
    away, back = said
    assert "does not take them" in away
    assert "again" in back


def test_a_node_works_and_stops_where_nobody_listens(
    alone: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with collector() as gone:
        pass
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    with running(tmp_path) as (_, http):
        assert tracing.is_on()
        for _ in range(3):
            assert post(http, did("sourced", f"{uuid4().hex}@example.com")).status_code == 201
    assert not tracing.is_on()


# ── where it is not wanted, or cannot be ──

SCRIPT = """
import sys
{before}
from infra import tracing
from infra.logging import configure
configure("info")
stop = tracing.start()
with tracing.work("x", (correlation / 0 for correlation in [1])) as span:
    span.note(events=1)
    span.tally(outcome / 0 for outcome in [1])
stop()
loaded = [m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "infra.spans"))]
print(tracing.is_on(), sorted(m for m in loaded if sys.modules[m] is not None))
"""


def started(before: str = "", **variables: str) -> tuple[str, str]:
    """What a process of its own prints, and logs, that starts tracing."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    script = [sys.executable, "-c", SCRIPT.format(before=before)]
    ran = subprocess.run(script, env=inherited | variables, capture_output=True, text=True, check=True)
    return ran.stdout.strip(), ran.stderr.strip()


def test_without_an_address_nothing_is_loaded_and_nothing_looked_at() -> None:
    assert started("import api.http.app, api.node") == ("False []", "")


@pytest.mark.parametrize(
    ("before", "variables", "says"),
    [
        ("sys.modules['opentelemetry.sdk'] = None", {}, "install rapport[otel]"),
        ("", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "can be http/protobuf only"),
        ("", {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "has no usable value"),
    ],
    ids=["not installed", "another protocol", "a value without sense"],
)
def test_what_keeps_it_from_being_traced_is_said_once_and_the_node_goes_on(
    before: str, variables: dict[str, str], says: str
) -> None:
    printed, logged = started(before, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **variables)
    assert printed.startswith("False")
    (line,) = logged.splitlines()
    assert says in line
    assert '"level": "warning"' in line


@pytest.mark.parametrize("name, value", [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_it_is_off_where_that_is_said(alone: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    tracing.start()
    assert not tracing.is_on()
