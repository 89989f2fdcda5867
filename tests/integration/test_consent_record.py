"""The trail as consent records: ISO/IEC TS 27560 names, DPV states, one record a purpose."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.test_http import SELF, did, get, record, running, somebody

EVIDENCE = {
    "notice_version": "2026-01",
    "wording_hash": "sha256:0f0f0f0f",
    "method": "web_form",
    "language": "de",
    "jurisdiction": "DE",
}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(tmp_path_factory.mktemp("node")) as (_, client):
        yield client


def test_a_consent_withdrawn_is_told_in_the_standards_words(http: httpx.Client) -> None:
    who = somebody()
    record(
        http,
        did("sourced", who),
        did("consent_requested", who, at="2026-03-02T09:00:00Z", **EVIDENCE),
        did("consent_given", who, at="2026-03-02T10:00:00Z", expires_at="2026-03-03T10:00:00Z", **EVIDENCE),
        did("consent_withdrawn", who, at="2026-03-02T11:00:00Z", actor=SELF, purpose="recruiting"),
        did("basis_recorded", who, at="2026-03-02T12:00:00Z", purpose="open_tracking", basis="legitimate_interest"),
    )
    found = get(http, f"/v1/compliance/candidates/{who}/trail", format="ts27560")
    assert found["schema_version"] == "ISO/IEC TS 27560:2023"
    records = {r["pii_processing"]["purposes"][0]["purpose"]: r for r in found["records"]}
    recruiting = records["recruiting"]
    assert [e["event_state"] for e in recruiting["event"]] == [
        "dpv:ConsentRequested",
        "dpv:ConsentGiven",
        "dpv:ConsentWithdrawn",
    ]
    assert recruiting["event"][1]["validity_duration"] == "PT86400S"
    assert recruiting["event"][2]["entity_id"] == SELF
    assert recruiting["pii_processing"] == {
        "privacy_notice": "2026-01",
        "language": "de",
        "purposes": [
            {
                "purpose": "recruiting",
                "lawful_basis": [],
                "collection_method": "web_form",
                "jurisdictions": ["DE"],
                "privacy_rights": ["eu-gdpr:A7-3", "eu-gdpr:A21"],
            }
        ],
    }
    assert {s["event_state"] for s in recruiting["state"]} == {"dpv:ConsentWithdrawn"}
    assert records["open_tracking"]["pii_processing"]["purposes"][0]["lawful_basis"] == ["eu-gdpr:A6-1-f"]


def test_before_the_first_event_there_is_no_statement(http: httpx.Client) -> None:
    who = somebody()
    record(http, did("consent_given", who, source="web", **EVIDENCE))
    found = get(http, f"/v1/compliance/candidates/{who}/trail", format="ts27560", as_of="2001-01-01T00:00:00Z")
    assert [r["event"] for r in found["records"]] == [[]]
    assert {s["event_state"] for r in found["records"] for s in r["state"]} == {"dpv:ConsentUnknown"}
