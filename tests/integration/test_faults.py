"""When something below fails: said in one sentence, tried again where that helps, and nothing stale told as true."""

import os
import secrets
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import BoundedSemaphore

import httpx
import pytest
from eventsourcing.persistence import OperationalError
from pydantic import SecretStr

from api.failures import FileRefused
from api.importing import open_source
from api.node import LedgerLost, Node
from consumers.verification import Finding, verify
from domain.interaction import parse
from infra.nats_server import EmbeddedServer
from infra.recording import Accepted
from infra.settings import Settings
from tests.integration.test_http import did, get, is_problem, record, running, somebody, until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("faults") / "data") as node_and_client:
        yield node_and_client


def alter(node: Node, old: str, new: str) -> None:
    with node.projector.lock:
        node.projector.connection.execute("drop index if exists pii.profile_by_canonical_id")
        node.projector.connection.execute(f"alter table pii.profile rename column {old} to {new}")


def test_views_that_could_not_be_written_go_on_by_themselves(served: tuple[Node, httpx.Client]) -> None:
    """A real fault of DuckDB, as a full disk is one: not ready, no stale answers, and nothing to do afterwards."""
    node, http = served
    who = somebody()
    record(http, did("sourced", who))
    alter(node, "first_name", "given_name")
    try:
        record(http, did("profile_corrected", who, first_name="Ada"))
        until(lambda: http.get("/readyz").status_code == 503)
        assert "stand still" in http.get("/readyz").text
        is_problem(http.get("/v1/engagement"), 503, "views-behind")
    finally:
        alter(node, "given_name", "first_name")
    until(lambda: http.get("/readyz").status_code == 200)
    assert get(http, f"/v1/candidates/{who}")["first_name"] == "Ada"


def test_a_time_that_cannot_be_told_in_json_is_refused_with_the_way_out(served: tuple[Node, httpx.Client]) -> None:
    answer = served[1].post("/v1/sql", json={"query": "select 'infinity'::timestamptz as t"})
    assert "::varchar" in is_problem(answer, 400, "query-refused")


def test_more_queries_than_may_run_are_told_to_come_again(
    served: tuple[Node, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sql._running", taken := BoundedSemaphore(1))
    query = {"query": "select 1 as one"}
    with taken:
        answer = served[1].post("/v1/sql", json=query)
        is_problem(answer, 503, "queries-busy")
        assert answer.headers["retry-after"]
    for _ in range(2):
        assert served[1].post("/v1/sql", json=query).json() == [{"one": 1}]


@pytest.mark.parametrize("name", ["a/b", "..", "   ", "a\u0000b"])
def test_a_pool_that_could_not_be_named_again_is_not_created(served: tuple[Node, httpx.Client], name: str) -> None:
    is_problem(served[1].post("/v1/pools", json={"name": name}), 422, "invalid-request")


def test_a_csv_with_one_column_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("type,occurred_at,candidate.email,data.tag,data.tag\n", "utf-8")
    with pytest.raises(FileRefused, match=r"two columns named data\.tag"):
        open_source(str(path))


def test_a_rejected_row_is_the_row_as_it_stood_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text('email;first_name\n"a@example.com";"Ada";surplus\n', "utf-8")
    (line,) = open_source(str(path)).lines
    assert (line.number, line.raw) == (2, '"a@example.com";"Ada";surplus')
    assert line.problem is not None


def test_a_server_that_comes_back_without_the_end_of_the_ledger_gets_no_second_history(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """While the node runs: nothing more is appended, it says what is lost, and the way out stays open."""
    nats = own_server.data_dir
    settings = Settings(data=tmp_path / "data", nats_url=SecretStr(own_server.url), nats_sync="unasserted")
    own_server._requested_port = own_server.port
    with Node(settings) as node:
        recorded(node, range(20))
        own_server.stop()
        shutil.copytree(nats / "jetstream", tmp_path / "older")
        own_server.start()
        recorded(node, range(20, 40))
        node.wait_for(40)
        assert own_server.pid is not None
        os.kill(own_server.pid, signal.SIGKILL)
        own_server.stop()
        shutil.rmtree(nats / "jetstream")
        shutil.copytree(tmp_path / "older", nats / "jetstream")
        own_server.start()
        for numbers in ([50], [5], range(60, 80)):  # a new person, a known one, and many
            with pytest.raises(OperationalError, match="lost 20 of its events"):
                recorded(node, numbers)
        assert any("lost 20 of its events" in reason for reason in node.unready())
        assert node.ledger.last_seq() == 20
    with pytest.raises(LedgerLost, match="rapport restore"), Node(settings):
        pass


def recorded(node: Node, numbers: Iterable[int]) -> None:
    """One event each of these people; of some the first."""
    told = [
        parse(
            {
                "type": "sourced",
                "occurred_at": f"2026-01-01T00:00:{number % 60:02}Z",
                "candidate": {"email": f"p{number}@example.com"},
                "source": "web",
                "id": secrets.token_hex(8),
            }
        )
        for number in numbers
    ]
    for outcome in node.recording.record(told, facts=True):
        assert isinstance(outcome, Accepted), outcome


def test_verifying_beside_a_node_that_goes_on_recording_finds_nothing(served: tuple[Node, httpx.Client]) -> None:
    """What the mirror takes in meanwhile is not held against what the ledger held before."""
    node, _ = served
    recorded(node, [501])
    node.wait_for(node.ledger.last_seq())
    with node.projector.cursor() as cursor:
        with node.projector.lock:  # the views wait
            recorded(node, [501])
            walk = verify(node.connection, node.stream, cursor)  # has seen how far either is, and nothing else yet
        recorded(node, [501])
        node.wait_for(node.ledger.last_seq())
        assert [item for item in walk if isinstance(item, Finding)] == []
