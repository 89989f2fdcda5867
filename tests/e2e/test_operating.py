"""Operating a node from the command line: status, building views anew, dead letters."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from api.cli.client import served
from api.cli.node import show_status
from api.node import Node
from api.references import reference_of
from infra.logging import configure
from infra.settings import Settings
from projections import rebuilding
from tests.e2e.harness import RAPPORT, complaint, did, environment, lines, ok, process, rapport, server_pid, until, up
from tests.older import sealed_by_hand
from tests.views import with_empty_views

ADA = "ada@example.com"
PEOPLE = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with people in it; of one of them the second event is of a type that nobody knows."""
    folder = tmp_path_factory.mktemp("operating")
    people = [did("sourced", ADA), *(did("sourced", f"p{n}@example.com") for n in range(PEOPLE))]
    ok(folder / "data", "import", lines(folder / "people.ndjson", people))
    configure("critical")
    with Node(Settings(data=folder / "data", port=0)) as node:
        name = f"candidate-{node.recording.resolve(reference_of(ADA))}"
        key = node.keyring.existing([name])[name]
        clear = {"occurred_at": "2026-03-02T00:00:00Z", "actor_kind": "user"}
        for version, type_ in ((2, "knighted"), (3, "tagged")):
            personal = {"actor": "user:secret-name", "tag": "secret-tag"}
            node.recorder.insert_events([sealed_by_hand(name, version, type_, 1, clear, personal, key)])
        assert node.projector.wait_for(PEOPLE + 3, 60.0), node.unready()
    return folder / "data"


def test_dead_letters_are_listed_without_personal_data_and_stay_while_nobody_can_read_them(data: Path) -> None:
    with up(data):
        letter = PEOPLE + 2
        (listed,) = json.loads(ok(data, "dead-letters", "list", "--json"))["dead_letters"]
        assert (listed["seq"], listed["type"], listed["waiting"]) == (letter, "knighted", 1)
        shown = ok(data, "dead-letters", "list").decode()
        assert "newer Rapport" in " ".join(shown.split())
        assert "secret" not in shown + json.dumps(listed)
        for arguments in ([], ["all"], ["ALL"], [str(letter)]):
            done = rapport(data, "dead-letters", "retry", *arguments)
            assert done.returncode == 1
            assert f"event {letter} still cannot be used" in done.stdout.decode()
        found = json.loads(rapport(data, "dead-letters", "retry", "1", str(letter), "--json").stdout)
        assert [r["status"] for r in found["results"]] == ["no-dead-letter", "waits"]
        assert "no dead letter" in ok(data, "dead-letters", "retry", "1").decode()


@pytest.mark.parametrize("seq", ["0", "-1", "x", "1,2", "١"])
def test_what_is_no_ledger_position_is_wrong_usage(data: Path, seq: str) -> None:
    done = rapport(data, "dead-letters", "retry", "--", seq)
    assert done.returncode == 2, done.stderr


def test_without_dead_letters_both_commands_say_so(tmp_path: Path) -> None:
    with up(with_empty_views(tmp_path / "data")):
        for command in ("list", "retry"):
            assert b"there are no dead letters" in ok(tmp_path / "data", "dead-letters", command)


def test_status_shows_on_one_screen_what_the_json_holds(data: Path) -> None:
    with up(data):
        found = json.loads(ok(data, "status", "--json"))
        views = found["views"]
        assert (views["dead_letters"], views["waiting_events"]) == (1, 1)
        assert (views["checkpoint"], views["mirrored"], views["lag_events"]) == (PEOPLE + 3, PEOPLE + 3, 0)
        shown = ok(data, "status").decode()
        for text in ("views behind by", "last batch", "refused definitions", "1, with 1 events waiting behind"):
            assert text in shown
        assert len(shown.splitlines()) < 50
        assert "secret" not in shown


def test_status_tells_of_a_server_that_is_held_up_and_of_a_node_that_is(tmp_path: Path) -> None:
    """When it is needed most: within seconds, with what is wrong, and without starting a node beside."""
    with up(tmp_path / "data") as (node, http):
        server = server_pid(tmp_path / "data")
        until(lambda: http.get("/readyz").status_code == 200)
        os.kill(server, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            answer = http.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
            assert time.monotonic() - begun < 8
            shown = rapport(tmp_path / "data", "status")
            assert shown.returncode == 1
            assert b"no answer from NATS" in shown.stdout or b"no connection to NATS" in shown.stdout
            assert not json.loads(rapport(tmp_path / "data", "status", "--json").stdout)["ready"]
        finally:
            os.kill(server, signal.SIGCONT)
        until(lambda: http.get("/readyz").status_code == 200)
        node.send_signal(signal.SIGSTOP)
        try:
            said = complaint(tmp_path / "data", "status")
            assert "does not answer" in said
            assert str(node.pid) in said
        finally:
            node.send_signal(signal.SIGCONT)


def test_status_of_a_node_of_an_older_version_shows_what_it_tells(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that knew of neither feed nor webhooks nor damaged keys."""
    found = json.loads(ok(data, "status", "--json"))
    show_status({key: found[key] for key in found.keys() - {"feed", "ingest", "keys_damaged"}})
    shown = capsys.readouterr().out
    assert "views behind by" in shown and "master key" in shown
    assert "feed stands at" not in shown


def test_a_rebuild_says_what_it_built_and_how_long_it_took(data: Path) -> None:
    with up(data):
        found = json.loads(ok(data, "rebuild", "--json"))
        assert {"profile", "identity"} <= set(found["rebuilt"])
        assert found["seconds"] > 0
        assert ok(data, "rebuild", "profile").decode().startswith("rebuilt profile")
        assert "there is no view 'nothing'" in complaint(data, "rebuild", "nothing")


@contextmanager
def held(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event, list[int]]]:
    """A node of this process that serves `data` and whose builds stop at their third part until told to go on."""
    reached, go_on, parts = threading.Event(), threading.Event(), []
    computed = rebuilding.compute_part

    def compute_part(over: Any, views: Any, place: Any, part: int, *more: Any) -> None:
        parts.append(part)
        if part == 2:
            reached.set()
            assert go_on.wait(60)
        computed(over, views, place, part, *more)

    monkeypatch.setattr(rebuilding, "compute_part", compute_part)
    monkeypatch.setattr(rebuilding, "PART_EVENTS", 10)
    with Node(Settings(data=data, port=0)) as node, served(node):
        yield reached, go_on, parts


def test_ctrl_c_cancels_a_rebuild_with_one_sentence_and_the_next_one_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(data, monkeypatch) as (reached, go_on, parts):
        with process(data, "rebuild") as running:
            assert reached.wait(60)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        assert (running.returncode, out) == (130, b"")
        (sentence,) = err.decode().splitlines()
        assert sentence.startswith("rapport: cancelled")
        assert "the next rebuild goes on from there" in sentence
        go_on.set()
        assert "profile" in json.loads(ok(data, "rebuild", "--json"))["rebuilt"]
        assert parts[:4] == [0, 1, 2, 2]


@contextmanager
def terminal(*command: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], bytes]]]:
    """A command whose standard error is a terminal, and what to read a part of it with; nothing when it is over."""
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as shown:

        def read() -> bytes:
            try:
                return shown.read(4096) or b""
            except OSError:  # Linux ends a terminal that nobody writes to any more with an error
                return b""

        running = subprocess.Popen(
            [RAPPORT, *command], stdout=subprocess.PIPE, stderr=theirs, env=environment(TERM="xterm")
        )
        os.close(theirs)
        try:
            yield running, read
        finally:
            if running.poll() is None:
                running.kill()
            running.communicate()


def test_on_a_terminal_a_rebuild_shows_a_bar(data: Path) -> None:
    with terminal("--data", data, "rebuild") as (running, read):
        shown = b"".join(iter(read, b""))
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.startswith(b"rebuilt ")
    assert b"building " in shown
    assert b"%" in shown


def answers(url: str) -> bool:
    """Whether a node serves there."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_node_that_builds_views_as_it_starts_shows_it_on_a_terminal_and_in_its_log(data: Path) -> None:
    """After an upgrade that changed a definition."""
    with duckdb.connect(data / "views.duckdb") as file:
        file.execute("update ops.views set definition = 'of an earlier version' where name = 'profile'")
    with terminal("--data", data, "up", "--port", "0") as (running, read):
        assert running.stdout is not None
        found = re.search(rb" at (http://\S+)", running.stdout.readline())
        assert found is not None
        until(lambda: answers(found[1].decode()))  # before, Ctrl-C interrupts a command that is not serving yet
        running.send_signal(signal.SIGINT)
        shown = b"".join(iter(read, b""))
        running.communicate(timeout=60)
    assert running.returncode == 0
    assert b'"event": "building views"' in shown
    assert b"building profile" in shown


def test_a_query_that_would_take_the_machine_down_is_refused_and_the_node_goes_on(tmp_path: Path) -> None:
    """Text functions make values that DuckDB does not count; the process has a bound of its own."""
    huge = "select length(replace(replace(repeat('a', 10000), 'a', repeat('b', 10000)), 'b', repeat('c', 1000)))"
    with up(with_empty_views(tmp_path / "data"), RAPPORT_MEMORY_MB="3000") as (running, http):
        for _ in range(2):
            answer = http.post("/v1/sql", json={"query": huge}, timeout=120)
            assert (answer.status_code, answer.json()["type"]) == (422, "urn:rapport:problem:query-too-big")
        assert http.post("/v1/sql", json={"query": "select 42 as n"}).json() == [{"n": 42}]
        assert http.get("/readyz").is_success
        assert running.poll() is None
