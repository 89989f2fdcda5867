"""The views' file exchanged for one written anew, under those who record, ask and hold on to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import duckdb
import httpx
import pytest
from pydantic import SecretStr

from api.cli.client import client_of, served
from api.node import Node
from infra.duckdb import open_database
from infra.logging import configure
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from projections import Projector
from tests.integration import test_operations
from tests.integration.test_http import did, get, is_problem, record, running, somebody, until

EXCHANGES, MESSAGES = 2, 20

disk = test_operations.small_disk


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("node")) as found:
        yield found


def test_an_import_goes_through_while_the_file_is_exchanged(here: tuple[Node, httpx.Client]) -> None:
    """Each intended contact asks the views for the person's merges; none is refused for that, and none comes twice."""
    node, http = here
    who, other = somebody(), somebody()
    record(http, did("sourced", who), did("sourced", other), did("merged", other, into={"email": who}))
    record(http, did("basis_recorded", who, basis="legitimate_interest", purpose="recruiting"))
    over = Event()

    def exchange() -> int:
        first = node.projector
        for _ in range(EXCHANGES):
            node.rewrite_views()
        over.set()
        return int(node.projector is not first)

    sent = 0
    with ThreadPoolExecutor(1) as pool:
        exchanged = pool.submit(exchange)
        while not over.is_set() or sent < MESSAGES:
            lines = [json.dumps(did("emailed", who, channel="email", message=f"m-{sent + n}")) for n in range(5)]
            headers = {"Content-Type": "application/x-ndjson"}
            answer = http.post("/v1/interactions", content="\n".join(lines), headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.json()["accepted"] == len(lines), answer.text
            sent += len(lines)
        assert exchanged.result() == 1
    node.wait_for(node.ledger.last_seq())
    with node.projector.cursor() as cursor:
        assert cursor.execute("select count(*) from events where type = 'emailed'").fetchall() == [(sent,)]
    assert node.unready() == []


def test_people_are_erased_while_the_file_is_exchanged(here: tuple[Node, httpx.Client]) -> None:
    """As one erasure after the other is: each has the file written anew."""
    node, http = here
    people = [somebody() for _ in range(2 * EXCHANGES)]
    record(http, *(did("sourced", who) for who in people))
    with ThreadPoolExecutor(1) as pool:
        exchanged = pool.submit(lambda: [node.rewrite_views() for _ in range(EXCHANGES)])
        for who in people:
            answer = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "unlawful"})
            assert answer.status_code == 200, answer.text
        exchanged.result()


def test_a_question_that_exchanges_cut_short_is_asked_again(here: tuple[Node, httpx.Client]) -> None:
    """However many of them, one after the other."""
    node, http = here
    node.wait_for(record(http, did("sourced", somebody())))
    asked = []

    def question(cursor: duckdb.DuckDBPyConnection) -> int:
        asked.append(cursor)
        if len(asked) <= EXCHANGES:
            with node._views._exchange():
                node._views._reopen(lambda: None)
        return len(cursor.execute("from identity").fetchall())

    with node._views._lock:  # an erasure's rewriting would hold it, and wait for the cursor to be given back
        assert node._views.ask(question) > 0
    assert len(asked) == EXCHANGES + 1


def test_a_file_that_is_shut_and_not_being_exchanged_is_not_waited_for(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    with node._views._lock:  # so that it is not opened again meanwhile
        node.projecting.stop()
        node.projector.close()
        with pytest.raises(duckdb.ConnectionException):
            node._views.ask(lambda cursor: cursor.execute("from identity").fetchall())
    node._views.reopen()
    until(lambda: get(http, "/v1/status")["ready"])


def test_a_cursor_that_was_closed_is_not_waited_for_however_long_it_is_held(tmp_path: Path) -> None:
    """One that was not is."""
    projector = Projector(open_database(tmp_path / "views.duckdb"))
    closed, out = projector.cursor(), projector.cursor()
    out.execute("select 1")
    closed.execute("select 1")
    closed.close()
    assert not projector.drain(0.0)
    assert projector.cursor().execute("select 1").fetchall() == [(1,)]
    out.close()
    assert projector.drain(0.0)
    projector.close()


def test_a_disk_that_fills_up_while_the_file_is_written_anew_costs_nothing(
    own_server: EmbeddedServer, disk: Path
) -> None:
    """The erasure waits and says why, the old file stays in use, nothing half written stays; with room it goes on."""
    configure("critical")
    data = disk / "data"
    settings = Settings(data=data, port=0, min_free_mb=0, nats_url=SecretStr(own_server.url), nats_sync="unasserted")
    with Node(settings) as node, served(node) as url, client_of(url, settings) as http:
        who = somebody()
        record(http, did("sourced", who, first_name="Ada"))
        for _ in range(5):
            people = (did("replied", somebody(), source="crm", text=os.urandom(2_000).hex()) for _ in range(200))
            node.wait_for(record(http, *people))
        node.projector.connection.execute("force checkpoint")
        filler = test_operations.fill(disk)
        spared = 2_000_000
        os.truncate(filler, filler.stat().st_size - spared)
        assert (data / "views.duckdb").stat().st_size > 2 * spared
        asked = {"candidate": who, "ground": "objection", "by": "user:dpo"}
        erasure = http.post("/v1/compliance/erasures", json=asked).json()["erasure"]
        until(lambda: any("erasure waits" in reason for reason in node.unready()), 60.0)
        (reason,) = node.unready()
        assert "is full; make room on it" in reason
        assert not list(data.glob("*.new*"))
        assert shutil.disk_usage(disk).free > spared / 2, "what was half written takes room"
        is_problem(http.get(f"/v1/candidates/{who}"), 410, "erased")
        assert sql_count(node) == 1_000
        filler.unlink()
        node.erasing._wake.set()
        until(lambda: get(http, f"/v1/compliance/erasures/{erasure}")["certified"], 60.0)
        until(lambda: node.unready() == [])
        assert sql_count(node) == 1_000


def sql_count(node: Node) -> int:
    with node.projector.cursor() as cursor:
        (row,) = cursor.execute("select count(*) from pii.profile").fetchall()
    return int(row[0])
