"""When something below fails: said in one sentence, tried again where that helps, and nothing stale told as true."""

from collections.abc import Iterator
from pathlib import Path
from threading import BoundedSemaphore

import httpx
import pytest

from api.importing import FileRefused, open_source
from api.node import Node
from tests.integration.test_http import did, get, is_problem, record, running, somebody, until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("faults") / "data") as node_and_client:
        yield node_and_client


def alter(node: Node, old: str, new: str) -> None:
    with node.projector.lock:
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
