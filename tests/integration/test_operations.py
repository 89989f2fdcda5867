"""Running a node: what it tells about itself, building views anew, dead letters, and a disk that fills up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from eventsourcing.persistence import OperationalError
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from api import building
from api.cli.client import Client, client_of, served
from api.node import Node, NodeError
from api.references import reference_of
from api.reopening import is_shut
from domain import candidate as c
from domain.event import utc_now
from domain.upcasters import UPCASTERS, Step
from infra.crypto import sealing
from infra.ingest_seals import Taken
from infra.jetstream.stream import erase_messages
from infra.logging import configure
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from projections import Projector, queries, rebuilding
from projections.view import ViewRefused
from tests.integration.test_http import did, get, is_problem, record, running, somebody, until
from tests.older import sealed_by_hand

CLEAR = {"occurred_at": "2026-03-02T00:00:00Z", "actor_kind": "user"}


@contextmanager
def a_node(folder: Path) -> Iterator[tuple[Node, httpx.Client]]:
    with running(folder) as (node, http):
        yield node, http


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Node, httpx.Client]]:
    with a_node(tmp_path / "node") as found:
        yield found


@pytest.fixture(scope="module")
def running_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with a_node(tmp_path_factory.mktemp("ready") / "node") as found:
        yield found


def figures(http: httpx.Client) -> dict[tuple[str, str], float]:
    """Every sample of `/metrics` by its name and its first label, parsed by Prometheus' own parser."""
    answer = http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found[sample.name, next(iter(sample.labels.values()), "")] = sample.value
    return found


def wait_for(node: Node, seq: int | None = None) -> int:
    seq = node.ledger.last_seq() if seq is None else seq
    assert node.projector.wait_for(seq, 60.0)
    return seq


def contents(node: Node) -> dict[str, list[tuple[Any, ...]]]:
    """Mirror and stored views, each as its sorted rows."""
    tables = {"events": "pii.events"} | {v.name: v.table for v in node.projector.views if v.stored}
    with node.projector.cursor() as cursor:
        return {name: sorted(cursor.execute(f"from {table}").fetchall(), key=repr) for name, table in tables.items()}


def events_of(http: httpx.Client, count: int) -> int:
    return record(http, *(did("sourced", somebody(), first_name="Ada") for _ in range(count)))


# ── status and metrics ─────────────────────────────────────────────────────────────────────────────


def test_metrics_tell_what_the_node_did_and_nothing_about_anybody(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    before = figures(http)
    assert before["rapport_projection_events_total", ""] == 0
    who = somebody()
    seq = record(http, did("sourced", who, first_name="Adalgisa"), did("tagged", who, tag="celestial-mechanics"))
    seq = record(http, did("replied", who, text="Adalgisa says yes"))
    wait_for(node, seq)
    found = figures(http)
    expected = {
        "rapport_node_ready": 1,
        "rapport_ledger_last_seq": 3,
        "rapport_mirror_seq": 3,
        "rapport_views_seq": 3,
        "rapport_views_lag_events": 0,
        "rapport_views_lag_seconds": 0,
        "rapport_projection_events_total": 3,
        "rapport_projection_batch_events_sum": 3,
        "rapport_dead_letters": 0,
        "rapport_waiting_events": 0,
        "rapport_views_refused": 0,
        "rapport_views_building": 0,
    }
    assert {name: found[name, ""] for name in expected} == expected
    batches = found["rapport_projection_batch_events_count", ""]
    assert 1 <= batches <= 3
    assert found["rapport_projection_apply_seconds_count", ""] == batches
    assert found["rapport_projection_apply_seconds_sum", ""] > 0
    assert (found["rapport_view_rows", "events"], found["rapport_view_rows", "profile"]) == (3, 1)
    assert ("rapport_view_build_seconds", "profile") in found
    assert any(name == "process_cpu_seconds_total" for name, _ in found)
    text = http.get("/metrics").text
    assert not [
        word for word in (who, "Adalgisa", "celestial", node.recording.resolve(reference_of(who))) if word in text
    ]


def test_two_nodes_in_one_process_keep_their_figures_apart(tmp_path: Path) -> None:
    with a_node(tmp_path / "one") as (one, http), a_node(tmp_path / "two") as (_, other):
        wait_for(one, events_of(http, 2))
        assert figures(http)["rapport_projection_events_total", ""] == 2
        assert figures(other)["rapport_projection_events_total", ""] == 0


def test_without_nats_metrics_tell_what_they_can(here: tuple[Node, httpx.Client], tmp_path: Path) -> None:
    node, http = here
    wait_for(node, events_of(http, 2))
    node.connection.request_timeout_s = 1.0
    os.kill(int((tmp_path / "node/nats/nats-server.pid").read_text()), signal.SIGKILL)
    until(lambda: http.get("/readyz").status_code == 503)
    found = figures(http)
    assert (found["rapport_node_ready", ""], found["rapport_views_seq", ""]) == (0, 2)
    assert ("rapport_ledger_last_seq", "") not in found
    assert ("rapport_views_lag_events", "") not in found


def test_lag_is_counted_and_timed_while_the_views_are_behind(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    wait_for(node, events_of(http, 1))
    with node.projector.lock:
        last = events_of(http, 3)
        found = figures(http)
        assert (found["rapport_views_seq", ""], found["rapport_views_lag_events", ""]) == (last - 3, 3)
        assert found["rapport_views_lag_seconds", ""] > 0
        views = get(http, "/v1/status")["views"]
        assert (views["lag_events"], views["checkpoint"], views["mirrored"]) == (3, last - 3, last - 3)
        assert views["lag_s"] > 0
    wait_for(node, last)
    assert get(http, "/v1/status")["views"]["lag_s"] == 0


def test_status_tells_the_last_batch_and_how_the_views_were_built(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    assert get(http, "/v1/status")["views"]["batch"] is None
    wait_for(node, events_of(http, 5))
    views = get(http, "/v1/status")["views"]
    batch = views["batch"]
    assert batch["events"] <= 5
    assert 0 < batch["apply_p50_ms"] <= batch["apply_p95_ms"]
    assert batch["batches"] >= 1
    assert (views["building"], views["refused"], views["dead_letters"], views["waiting_events"]) == (None, [], 0, 0)
    assert {"profile", "identity"} <= {view["name"] for view in views["views"] if view["build_s"] >= 0}


def test_a_refused_definition_is_told_and_the_node_stays_ready(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    path = Path("views/broken/view.sql")
    node.projector.refused = (ViewRefused(path, "there is no column `colour`", 7),)
    assert get(http, "/v1/status")["views"]["refused"] == [
        {"view": "broken", "reason": "views/broken/view.sql:7: there is no column `colour`"}
    ]
    assert figures(http)["rapport_views_refused", ""] == 1
    assert get(http, "/readyz")["status"] == "ready"


# ── building views anew ────────────────────────────────────────────────────────────────────────────


def rebuild(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = http.post("/v1/views/rebuild", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_rebuild_tells_how_far_it_is_and_ends_with_what_was_built(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    wait_for(node, events_of(http, 20))
    before = contents(node)
    *progress, last = rebuild(http)
    assert set(last["rebuilt"]) == {v.name for v in node.projector.views if v.stored}
    assert last["seconds"] > 0
    done = [line["done"] for line in progress]
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert {line["view"] for line in progress if line["view"]} == set(last["rebuilt"])
    assert contents(node) == before
    assert "identity" in rebuild(http, view="identity")[-1]["rebuilt"]


class Held:
    """Holds a build at its second person part, until told to go on; counts the parts that are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.parts: list[int] = []
        computed = rebuilding.compute_part

        def compute_part(over: Any, views: Any, place: Any, part: int, *more: Any) -> Any:
            self.parts.append(part)
            if part == 2:
                self.reached.set()
                assert self.go_on.wait(60)
            return computed(over, views, place, part, *more)

        monkeypatch.setattr(rebuilding, "compute_part", compute_part)
        monkeypatch.setattr(rebuilding, "PART_EVENTS", 10)


def test_a_client_that_goes_away_cancels_the_build_which_goes_on_from_there_when_asked_again(
    here: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    wait_for(node, events_of(http, 60))
    before, held = contents(node), Held(monkeypatch)
    with http.stream("POST", "/v1/views/rebuild") as answer:
        lines = answer.iter_lines()
        assert "done" in json.loads(next(lines))
        assert held.reached.wait(60)
    until(lambda: node.rebuilds._running is not None and node.rebuilds._running.is_cancelled)
    held.go_on.set()
    *_, last = rebuild(http)
    assert "rebuilt" in last
    again = held.parts.index(2) + 1
    assert held.parts[:again] == [0, 1, 2]
    assert held.parts[again] == 2, "parts 0 and 1 were kept"
    assert contents(node) == before


def test_while_views_are_built_another_build_is_refused_and_status_and_metrics_say_so(
    here: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    wait_for(node, events_of(http, 60))
    held = Held(monkeypatch)
    with http.stream("POST", "/v1/views/rebuild") as answer:
        assert held.reached.wait(60)
        assert "already" in is_problem(http.post("/v1/views/rebuild"), 409, "rebuild-running")
        is_problem(http.post("/v1/dead-letters/retry"), 409, "rebuild-running")
        now = get(http, "/v1/status")["views"]["building"]
        assert 0 < now["done"] < 1
        assert figures(http)["rapport_views_building", ""] == 1
        assert get(http, "/readyz")["status"] == "ready"
        held.go_on.set()
        *_, last = answer.iter_lines()
        assert "rebuilt" in json.loads(last)
    assert get(http, "/v1/status")["views"]["building"] is None


def test_a_build_that_fails_says_why_in_its_last_line_and_the_views_go_on(
    here: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    wait_for(node, events_of(http, 5))
    before = contents(node)

    def fail(*_: Any) -> None:
        raise ViewRefused(Path("views/profile/view.sql"), "it cannot be computed", 3)

    monkeypatch.setattr(rebuilding, "compute_part", fail)
    *_, last = rebuild(http)
    assert last == {"error": "views/profile/view.sql:3: it cannot be computed"}
    assert contents(node) == before
    monkeypatch.undo()
    assert "rebuilt" in rebuild(http)[-1]


def test_a_node_that_is_stopped_amid_a_build_stops_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_node(tmp_path / "node") as (node, http):
        wait_for(node, events_of(http, 60))
        before, held = contents(node), Held(monkeypatch)
        node.rebuilds.start(node.projector, None, lambda _: None)
        assert held.reached.wait(60)
        running = node.rebuilds._running
        assert running is not None
        threading.Thread(target=lambda: (until(lambda: running.is_cancelled), held.go_on.set())).start()
    assert held.parts == [0, 1, 2]
    with a_node(tmp_path / "node") as (node, http):
        assert "rebuilt" in rebuild(http)[-1]
        assert held.parts[3] == 2
        assert contents(node) == before


def test_views_of_a_changed_definition_are_built_at_the_start_and_their_progress_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "node"
    with a_node(folder) as (node, http):
        wait_for(node, events_of(http, 3))
    with duckdb.connect(folder / "views.duckdb") as file:
        file.execute("update ops.views set definition = 'of another version' where name = 'profile'")
    told, logged = [], []
    monkeypatch.setattr(building.log, "info", lambda event, **more: logged.append((event, more.get("view"))))
    with Node(node.settings, lambda view, done: told.append((view, done))):
        assert told[-1][1] == 1.0
        assert "profile" in [view for view, _ in told]
    assert ("building views", "profile") in logged


# ── dead letters ───────────────────────────────────────────────────────────────────────────────────


class Broken:
    """A node with one candidate of whose events the second cannot be used, and another who is well."""

    def __init__(self, node: Node, http: httpx.Client) -> None:
        self.node, self.http = node, http
        self.email = somebody()
        record(http, did("sourced", self.email, first_name="Ada"), did("sourced", somebody()))
        self.id = node.recording.resolve(reference_of(self.email))
        self.name = f"candidate-{self.id}"
        self.key = node.keyring.existing([self.name])[self.name]

    def store(self, version: int, type_: str, personal: dict[str, Any], v: int = 1, key: bytes | None = None) -> int:
        stored = sealed_by_hand(self.name, version, type_, v, CLEAR, personal, key or self.key)
        (seq,) = self.node.recorder.insert_events([stored]) or ()
        return seq

    def tags(self, seq: int) -> list[str]:
        """As the views have them; asked by id, the ledger would refuse a candidate with a broken event."""
        wait_for(self.node, seq)
        with self.node.projector.cursor() as cursor:
            found = queries.profile(cursor, self.id)
        assert found is not None
        return sorted(found["tags"] or ())

    def letters(self) -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = get(self.http, "/v1/dead-letters")["dead_letters"]
        return letters

    def retry(self, *seqs: int) -> dict[str, Any]:
        answer = self.http.post("/v1/dead-letters/retry", json={"seqs": list(seqs)} if seqs else None)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def broken(here: tuple[Node, httpx.Client]) -> Broken:
    return Broken(*here)


def test_what_a_newer_rapport_wrote_waits_and_counts_once_it_can_be_read(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later events of that candidate wait, those of others go on; `retry` before the upgrade changes nothing."""
    letter = broken.store(2, "knighted", {"actor": "user:x", "tag": "secret"})
    last = broken.store(3, "tagged", {"actor": "user:x", "tag": "behind"})
    wait_for(broken.node, last)
    other = record(broken.http, did("sourced", somebody(), first_name="Other"))
    wait_for(broken.node, other)
    assert broken.tags(other) == []
    (shown,) = broken.letters()
    assert (shown["seq"], shown["type"], shown["waiting"], shown["id"]) == (letter, "knighted", 1, broken.id)
    assert "newer Rapport" in shown["problem"]
    assert shown["since"]
    assert not any(word in json.dumps(shown) for word in ("secret", "user:x", broken.email))
    views = get(broken.http, "/v1/status")["views"]
    assert (views["dead_letters"], views["waiting_events"]) == (1, 1)
    found = figures(broken.http)
    assert (found["rapport_dead_letters", ""], found["rapport_waiting_events", ""]) == (1, 1)

    still = broken.retry()
    assert (still["retried"], still["waits"]) == (0, 1)
    assert "newer Rapport" in still["results"][0]["reason"]
    assert broken.letters()[0]["since"] == shown["since"]

    class Knighted(c.Tagged):
        type = "knighted"

    monkeypatch.setitem(c.EVENTS, "knighted", Knighted)
    assert broken.retry(letter)["results"] == [{"seq": letter, "status": "retried", "reason": None}]
    assert broken.tags(other) == ["behind"]
    assert broken.letters() == []
    assert figures(broken.http)["rapport_waiting_events", ""] == 0
    before = contents(broken.node)
    again = broken.retry(letter)
    assert again["results"] == [{"seq": letter, "status": "no-dead-letter", "reason": None}]
    assert contents(broken.node) == before
    rebuild(broken.http)
    assert contents(broken.node) == before


def test_an_event_that_an_upcaster_stumbled_over_counts_once_the_upcaster_is_mended(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_personal: dict[str, Any], _clear: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("of no use")

    monkeypatch.setattr(c.Tagged, "v", 2)
    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 1), Step(personal=stumble))
    letter = broken.store(2, "tagged", {"actor": "user:x", "tag": "old"})
    wait_for(broken.node, letter)
    assert broken.letters()[0]["problem"].startswith("UpcastError")
    assert broken.retry()["waits"] == 1
    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 1), Step())
    assert broken.retry()["retried"] == 1
    assert broken.tags(letter) == ["old"]


def test_a_broken_seal_stays_until_the_right_key_is_back(broken: Broken) -> None:
    """Sealed with another key than the one in the bucket: with the bucket put right, a retry is enough."""
    right = sealing.new_key()
    letter = broken.store(2, "tagged", {"actor": "user:x", "tag": "sealed"}, key=right)
    wait_for(broken.node, letter)
    assert broken.letters()[0]["problem"].startswith("SealBrokenError")
    assert broken.retry()["waits"] == 1
    assert len(broken.letters()) == 1
    bucket, master = broken.node.keyring._bucket, broken.node.keyring._master
    bucket.destroy(broken.name)
    bucket.create_many({broken.name: master.wrap(right, f"rapport key|{broken.name}".encode())})
    assert broken.retry()["retried"] == 1
    assert broken.tags(letter) == ["sealed"]


def test_a_letter_that_the_ledger_lost_or_altered_stays_with_a_sentence(broken: Broken) -> None:
    lost = broken.store(2, "knighted", {"actor": "user:x"})
    other = Broken(broken.node, broken.http)
    waiting = other.store(2, "knighted", {"actor": "user:x"})
    wait_for(broken.node, waiting)
    with broken.node.projector.lock:
        broken.node.projector.connection.execute("update pii.events set body = ? where seq = ?", [b"{}", waiting])
    broken.node.connection.call(erase(broken.node, lost))
    reasons = {r["seq"]: r["reason"] for r in broken.retry()["results"]}
    assert "rapport verify" in reasons[lost]
    assert "other bytes" in reasons[waiting]
    assert len(broken.letters()) == 2


async def erase(node: Node, seq: int) -> None:
    await erase_messages(node.connection, node.stream, [seq])


def test_all_dead_letters_are_listed_page_by_page(broken: Broken) -> None:
    """Those of the views, then those of ingest, in whichever place a page ends."""
    node, http = broken.node, broken.http
    for who in (broken, *(Broken(node, http) for _ in range(2))):
        last = who.store(2, "knighted", {"actor": "user:x"})
    wait_for(node, last)
    for number in range(4):
        node.intake.letters.add(Taken("sendgrid", utc_now(), {}, b"[]"), [f"reason {number}"])
    path = "/v1/dead-letters"
    whole = get(http, path)
    places = [str(row["seq"]) for row in whole["dead_letters"]] + [row["id"] for row in whole["ingest"]]
    assert (len(whole["dead_letters"]), len(whole["ingest"]), whole["next"]) == (3, 4, None)
    for limit in (1, 2, 3, 6, 7):
        pages = [get(http, path, limit=limit)]
        while (after := pages[-1]["next"]) is not None:
            pages.append(get(http, path, limit=limit, after=after))
        found = [[str(row["seq"]) for row in p["dead_letters"]] + [row["id"] for row in p["ingest"]] for p in pages]
        assert [place for page in found for place in page] == places
        assert all(len(page) == limit for page in found[:-1])
    assert Client(http).all_pages(path, "dead_letters", "ingest", limit=2) == whole
    of_ingest = get(http, path, of="ingest", limit=2)
    assert (of_ingest["dead_letters"], of_ingest["next"]) == ([], places[4])
    assert get(http, path, of="views", after=places[1])["dead_letters"] == whole["dead_letters"][2:]
    is_problem(http.get(path, params={"after": "u7"}), 422, "invalid-request")


def test_several_letters_of_one_candidate_count_what_waits_once(broken: Broken) -> None:
    first = broken.store(2, "knighted", {"actor": "user:x"})
    broken.store(3, "tagged", {"actor": "user:x", "tag": "one"})
    broken.store(4, "knighted", {"actor": "user:x"})
    last = broken.store(5, "tagged", {"actor": "user:x", "tag": "two"})
    wait_for(broken.node, last)
    assert [letter["waiting"] for letter in broken.letters()] == [3, 1]
    views = get(broken.http, "/v1/status")["views"]
    assert (views["dead_letters"], views["waiting_events"]) == (2, 2)
    assert broken.retry(first)["waits"] == 1


@pytest.mark.parametrize("body", [{"seqs": [0]}, {"seqs": ["x"]}, {"all": True}, {"seqs": list(range(1, 20_000))}])
def test_a_retry_of_nonsense_is_422(here: tuple[Node, httpx.Client], body: dict[str, Any]) -> None:
    is_problem(here[1].post("/v1/dead-letters/retry", json=body), 422, "invalid-request")


def test_what_is_no_dead_letter_is_said_to_be_none(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    wait_for(node, events_of(http, 1))
    found = http.post("/v1/dead-letters/retry", json={"seqs": [1, 10**12]}).json()
    assert [(r["seq"], r["status"]) for r in found["results"]] == [(1, "no-dead-letter"), (10**12, "no-dead-letter")]


# ── ready ──────────────────────────────────────────────────────────────────────────────────────────


def unready(http: httpx.Client) -> str:
    """The one reason why the node is not ready, which `/readyz`, status and metrics agree on."""
    answer = http.get("/readyz")
    assert answer.status_code == 503
    (reason,) = answer.json()["reasons"]
    status = get(http, "/v1/status")
    assert (status["ready"], status["failing"], status["reasons"]) == (False, False, [reason])
    assert figures(http)["rapport_node_ready", ""] == 0
    return str(reason)


def test_a_node_whose_views_are_far_behind_is_not_ready_and_who_waits_for_them_goes_on_waiting(
    running_node: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = running_node
    wait_for(node, events_of(http, 7))
    last = node.ledger.last_seq()
    monkeypatch.setattr(node.settings, "max_behind_events", 5)
    with monkeypatch.context() as patch:
        patch.setattr(Projector, "checkpoint", property(lambda _: last - 6))
        assert "6 events behind" in unready(http)
        seen = list[int]()

        def progress(done: int, _total: int) -> None:
            seen.append(done)
            patch.undo()

        Client(http).wait_for_views(progress)
    assert seen == [last - 6, last]
    assert get(http, "/readyz")["status"] == "ready"


def test_a_node_whose_disk_is_soon_full_is_not_ready(
    running_node: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = running_node
    free = figures(http)["rapport_data_free_bytes", ""]
    assert free > 0
    usage = shutil.disk_usage(node.settings.data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # others write to this disk between two looks at it
    monkeypatch.setattr(node.settings, "min_free_mb", int(free))
    assert "RAPPORT_MIN_FREE_MB" in unready(http)
    assert record(http, did("sourced", somebody())), "it goes on with its work for as long as it can"
    monkeypatch.setattr(node.settings, "min_free_mb", 0)
    assert get(http, "/readyz")["status"] == "ready"


def test_a_node_that_tells_its_subscribers_nothing_is_not_ready(
    running_node: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it what the feed says of pools and bands, or the webhooks; where all is down, only that is said."""
    node, http = running_node

    def fails(*_: object) -> None:
        raise OperationalError("the bucket does not answer")

    def reasons() -> list[str]:
        told: list[str] = http.get("/readyz").json().get("reasons", [])
        return told

    broken = [
        (node.announcing, "_round", "changes in pools and bands are not told on the feed"),
        (node.subscribers, "all", "webhooks to subscribers wait"),
    ]
    for part, method, said in broken:
        with monkeypatch.context() as patch:
            patch.setattr(part, method, fails)
            until(lambda said=said: reasons() == [f"{said}: the bucket does not answer"])
            patch.setattr(node.relay, "_retain", fails)
            until(lambda: reasons() == ["the feed stands still: the bucket does not answer"])
        until(lambda: http.get("/readyz").status_code == 200)


# ── a full disk ────────────────────────────────────────────────────────────────────────────────────

DISK_BYTES = 40_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here: that takes Linux and root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room there is; returns the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65_536)):
            pass
    assert shutil.disk_usage(disk).free < 65_536
    return filler


@pytest.mark.parametrize("fails", ["commit", "checkpoint"])
def test_a_full_disk_stops_the_views_with_a_sentence_and_they_go_on_when_there_is_room(
    own_server: EmbeddedServer, small_disk: Path, fails: str
) -> None:
    """The ledger is elsewhere and goes on. Nothing is lost or doubled, also where DuckDB shuts the file for good, as
    it does when there is no room for folding its log into it.
    """
    configure("critical")
    data = small_disk / "data"
    nats = {"nats_url": SecretStr(own_server.url), "nats_sync": "unasserted"}
    settings = Settings(data=data, port=0, min_free_mb=0, **nats)
    with (
        Node(settings) as node,
        served(node) as url,
        client_of(url, node.settings) as http,
    ):
        wait_for(node, events_of(http, 30))
        node.projector.connection.execute("set global checkpoint_threshold = '1GB'")
        filler, shut = fill(small_disk), node.projector
        if fails == "checkpoint":  # there is room in the log for some events, and not for folding it into the file
            os.truncate(filler, filler.stat().st_size - 500_000)
            node.projector.connection.execute("set global checkpoint_threshold = '10KB'")
        few, last = (5 if fails == "checkpoint" else 400), 0

        def stands_still() -> bool:
            """DuckDB passes over a checkpoint while anybody reads; then the next few bring one."""
            nonlocal last
            if "the views stand still" in http.get("/readyz").text:
                return True
            if node.projector.checkpoint >= last:
                last = record(
                    http, *(did("replied", somebody(), source="crm", text=somebody() * 50) for _ in range(few))
                )
            return False

        until(stands_still)
        (reason,) = http.get("/readyz").json()["reasons"]
        assert "is full" in reason
        assert str(data / "views.duckdb") in reason
        assert "make room" in reason
        stands_at = node.projector.checkpoint
        assert stands_at < last
        assert (is_shut(shut), fails) in {(True, "checkpoint"), (False, "commit")}
        found = figures(http)
        assert (found["rapport_node_ready", ""], found["rapport_views_lag_events", ""]) == (0, last - stands_at)
        is_problem(http.get("/v1/pools"), 503, "views-behind")
        assert get(http, "/v1/status")["views"]["checkpoint"] == stands_at
        last = events_of(http, 5)

        filler.unlink()
        until(lambda: node.projector.checkpoint == last)
        until(lambda: http.get("/readyz").status_code == 200)
        assert (node.projector is shut) is (fails == "commit")
        with node.projector.cursor() as cursor:
            assert cursor.execute("select seq from pii.events order by seq").fetchall() == [
                (seq,) for seq in range(1, last + 1)
            ]
        before = contents(node)
        assert "rebuilt" in rebuild(http)[-1]
        assert contents(node) == before


def test_a_node_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room(
    own_server: EmbeddedServer, small_disk: Path
) -> None:
    configure("critical")
    data = small_disk / "data"
    nats = {"nats_url": SecretStr(own_server.url), "nats_sync": "unasserted"}
    settings = Settings(data=data, port=0, min_free_mb=0, **nats)
    with Node(settings):
        pass
    filler = fill(small_disk)
    with pytest.raises(NodeError, match="is full; make room on it"), Node(settings):
        pass
    filler.unlink()
    with Node(settings) as node:
        assert node.unready() == []
