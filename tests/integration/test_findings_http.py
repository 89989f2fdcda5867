"""Findings, the policy and the records of processing over HTTP and by command, on a real node."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.records_of_processing import markdown, records
from domain.compliance_policy import default_policy, default_toml
from domain.finding import FindingKind
from tests.e2e.harness import complaint, ok, rapport
from tests.integration.test_http import did, get, is_problem, record, running, somebody

MATTER = "1" * 32


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(tmp_path_factory.mktemp("node")) as (_, client):
        yield client


def wronged(who: str) -> list[dict[str, Any]]:
    """Somebody with a finding of each of five kinds, as of 1 January 2026."""
    return [
        did("sourced", who, "2025-03-01T09:00:00Z", source="linkedin"),
        did("emailed", who, "2025-03-02T09:00:00Z", message="m1"),
        did("opted_out", who, "2025-03-03T09:00:00Z"),
        did("emailed", who, "2025-03-04T09:00:00Z", message="m2"),
        did("request_received", who, "2025-03-05T09:00:00Z", request=MATTER, asks_for="access"),
    ]


FIVE = ["contact_after_opt_out", "request_overdue", "contact_without_basis", "notice_overdue", "basis_missing"]
AT = {"as_of": "2026-01-01T00:00:00Z"}


def found(http: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = get(http, "/v1/compliance/findings", **(AT | asked))
    return answer


def test_findings_of_a_person_with_their_proof(http: httpx.Client) -> None:
    """As of a moment, and as known at one: what the ledger did not hold yet breaks no rule."""
    who = somebody()
    record(http, wronged(who)[0])
    last = record(http, *wronged(who)[1:])
    answer = found(http, person=who, min_seq=last)
    assert [row["kind"] for row in answer["findings"]] == FIVE
    assert (answer["total"], answer["next"]) == (5, None)
    assert answer["findings"][0]["seqs"] == [last - 1, last - 2]
    assert answer["findings"][1]["due_at"] == answer["findings"][1]["since"] == "2025-04-06T00:00:00Z"
    assert found(http, person=who, as_of="2025-03-01T12:00:00Z")["total"] == 1
    [event] = get(http, f"/v1/candidates/{who}/timeline", limit=1)["events"]
    earlier = get(http, f"/v1/candidates/{who}/timeline")["events"][-1]["recorded_at"]
    assert [r["kind"] for r in found(http, person=who, known_at=event["recorded_at"])["findings"]] == FIVE
    assert [r["kind"] for r in found(http, person=who, known_at=earlier)["findings"]] == ["notice_overdue", FIVE[4]]
    assert found(http, known_at="2020-01-01T00:00:00Z")["total"] == 0


def test_pages_follow_each_other_without_gap_or_double(http: httpx.Client) -> None:
    last = record(http, *(event for _ in range(3) for event in wronged(somebody())))
    whole = found(http, limit=1000, min_seq=last)
    assert whole["total"] == len(whole["findings"]) >= 15
    place, paged = None, []
    while True:
        page = found(http, limit=4, **({} if place is None else {"after": place}))
        paged += page["findings"]
        assert page["total"] == whole["total"]
        if (place := page["next"]) is None:
            break
    assert paged == whole["findings"]
    end = f"{paged[-1]['kind']}:{paged[-1]['seq']}"
    beyond = found(http, after=end)
    assert (beyond["findings"], beyond["total"], beyond["next"]) == ([], whole["total"], None)
    of_kind = found(http, kind="notice_overdue", limit=1000)["findings"]
    assert of_kind == [row for row in paged if row["kind"] == "notice_overdue"]


@pytest.mark.parametrize(
    "asked", [{"kind": "unheard_of"}, {"after": "unheard_of:3"}, {"after": "3"}, {"limit": 0}, {"as_of": "yesterday"}]
)
def test_a_question_that_cannot_be_meant_is_refused(http: httpx.Client, asked: dict[str, Any]) -> None:
    """A cursor of no kind must not read as `nothing found`."""
    is_problem(http.get("/v1/compliance/findings", params=asked), 422, "invalid-request")


def test_findings_of_nobody_known_are_refused(http: httpx.Client) -> None:
    is_problem(http.get("/v1/compliance/findings", params={"person": somebody()}), 404, "unresolved-candidate")


def test_the_policy_is_shown_with_where_each_value_is_from(http: httpx.Client) -> None:
    shown = get(http, "/v1/compliance/policy")
    assert (shown["default"], shown["file"]) == ("EU", None)
    france = shown["jurisdictions"]["FR"]
    assert france["rejected_months"]["from"] == "FR"
    assert france["opt_out_hours"] == shown["jurisdictions"]["EU"]["opt_out_hours"]
    assert france["opt_out_hours"]["from"] == "EU"
    assert tomllib.loads(http.get("/v1/compliance/policy.toml").text) == tomllib.loads(default_toml())


def test_the_records_of_processing_are_those_of_the_policy_in_force(http: httpx.Client) -> None:
    assert markdown(get(http, "/v1/compliance/records-of-processing")) == markdown(records(default_policy()))


def test_findings_by_command_end_with_one_when_there_are_any(tmp_path: Path) -> None:
    """So that it can run in a pipeline; with a policy of one's own other rules hold, without any change to the data."""
    data, history = tmp_path / "data", tmp_path / "history.ndjson"
    none = rapport(data, "findings")
    assert (none.returncode, none.stdout.decode().count("nothing found")) == (0, 1)
    kept = [
        did("sourced", "ada@example.com", "2025-03-01T09:00:00Z", source="site", actor="candidate:ada"),
        did("consent_given", "ada@example.com", "2025-03-01T09:00:00Z", actor="candidate:ada"),
    ]
    history.write_text("".join(json.dumps(event) + "\n" for event in kept))
    ok(data, "import", history)
    assert rapport(data, "findings", "--as-of", "2025-12-01").returncode == 0
    own = tmp_path / "own.toml"
    own.write_bytes(ok(data, "policy", "--toml").replace(b"value = 24", b"value = 6"))
    strict = rapport(data, "findings", "--as-of", "2025-12-01", "--json", RAPPORT_POLICY=str(own))
    assert strict.returncode == 1
    assert [row["kind"] for row in json.loads(strict.stdout)["findings"]] == ["retention_due", "consent_old"]
    shown = rapport(data, "findings", "--as-of", "2025-12-01", RAPPORT_POLICY=str(own)).stdout.decode()
    assert "Art. 5(1)(e)" in shown
    assert "2 of 2 findings as of 2025-12-01 00:00 (UTC)" in shown
    assert "own.toml" in ok(data, "policy", RAPPORT_POLICY=str(own)).decode()
    assert rapport(data, "findings", "--as-of", "2025-12-01").returncode == 0


def test_a_policy_that_cannot_be_applied_keeps_a_node_from_starting(tmp_path: Path) -> None:
    """Nobody is judged by guess: one sentence with file and line."""
    data, own = tmp_path / "data", tmp_path / "own.toml"
    own.write_text(default_toml().replace("value = 48", 'value = "soon"'))
    line = own.read_text().splitlines().index('value = "soon"') + 1
    said = complaint(data, "findings", RAPPORT_POLICY=str(own))
    assert f"own.toml:{line}: jurisdictions.EU.opt_out_hours.value" in said
    assert "XX" in complaint(data, "findings", RAPPORT_JURISDICTION="XX")


def test_records_of_processing_by_command_are_the_page_in_docs(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "records-of-processing.md"
    assert ok(tmp_path / "data", "records-of-processing").decode() == page.read_text("utf-8")


def test_every_kind_can_be_asked_for(http: httpx.Client) -> None:
    for kind in FindingKind:
        assert all(row["kind"] == kind for row in found(http, kind=kind.value)["findings"])
