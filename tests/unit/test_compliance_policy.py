"""The compliance policy: what it says, where each value is from, and how a policy that cannot be applied is refused."""

import re
from datetime import date
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain.compliance_policy import GENERAL, Policy, PolicyRefused, Terms, default_policy, default_toml
from domain.finding import FindingKind
from infra import policy_file
from projections import compliance_policy
from projections.registry import VIEWS


def test_every_value_has_a_source_and_the_day_it_was_looked_up() -> None:
    """A value that was not confirmed says what it rests on."""
    jurisdictions = default_policy().jurisdictions
    assert {"EU", "FR", "GB", "DE"} <= jurisdictions.keys()
    for own in jurisdictions.values():
        for name in Terms.model_fields:
            value = getattr(own, name)
            if value is not None:
                assert value.source_date <= value.looked_up <= date.max
                assert value.confirmed or value.note


def test_the_general_jurisdiction_fills_what_another_does_not_say() -> None:
    policy = default_policy()
    france, elsewhere, unknown = policy.terms("FR"), policy.terms("US"), policy.terms(None)
    assert elsewhere == unknown == policy.terms(GENERAL)
    assert france.rejected_months == policy.jurisdictions["FR"].rejected_months != elsewhere.rejected_months
    assert france.opt_out_hours == elsewhere.opt_out_hours


REFUSED = {
    "not TOML": ("[controller]", "[controller", "[controller"),
    "a field too many": ("confirmed = true", "confirmd = true", "confirmd = true"),
    "a value of another type": ("value = 48", 'value = "48"', 'value = "48"'),
    "a value that cannot be": ("value = 48", "value = -1", "value = -1"),
    "a jurisdiction that is none": ("[jurisdictions.GB]", "[jurisdictions.GBR]", "[jurisdictions.GBR]"),
    "a word in the wrong purpose": ('basis = "consent"', "basis = 3", "basis = 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_applied_is_refused_with_file_and_line(case: str) -> None:
    good, bad, at = REFUSED[case]
    text = default_toml().replace(good, bad, 1)
    line = next(n for n, content in enumerate(text.splitlines(), 1) if at in content)
    with pytest.raises(PolicyRefused, match=rf"^mine\.toml:{line}: [^\n]+$"):
        Policy.from_toml(text, "mine.toml")


def test_a_policy_whose_general_jurisdiction_is_not_complete_is_refused() -> None:
    text = re.sub(r"\[jurisdictions\.EU\.notice_months\]\n(?:.+\n)+", "", default_toml())
    with pytest.raises(PolicyRefused, match=r"mine\.toml: jurisdictions\.EU\.notice_months is missing"):
        Policy.from_toml(text, "mine.toml")


@given(st.data())
def test_any_text_is_a_policy_or_refused_in_one_line(data: st.DataObject) -> None:
    """The policy that comes with Rapport, damaged anywhere by anything."""
    text = default_toml()
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 200)))
    damaged = text[:at] + data.draw(st.text(max_size=20)) + text[until:]
    try:
        Policy.from_toml(damaged, "mine.toml")
    except PolicyRefused as error:
        assert str(error).startswith("mine.toml")
        assert "\n" not in str(error)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert policy_file.read(None) == (default_toml(), default_policy())
    with pytest.raises(PolicyRefused, match=r"nowhere\.toml \(RAPPORT_POLICY\) cannot be read"):
        policy_file.read(tmp_path / "nowhere.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyRefused, match="not UTF-8"):
        policy_file.read(binary)
    own = tmp_path / "own.toml"
    own.write_text("\ufeff" + default_toml().replace('version = "2026-11"', 'version = "ours"'), "utf-8")
    assert policy_file.read(own)[1].version == "ours"


def test_a_setting_that_names_no_jurisdiction_of_the_policy_is_refused() -> None:
    with pytest.raises(PolicyRefused, match=r"RAPPORT_JURISDICTION.*DE, EU, FR, GB"):
        compliance_policy.with_policy(VIEWS, default_policy(), "XX")


def test_sql_reads_the_values_that_the_policy_has(database: DuckDBPyConnection) -> None:
    """Each in a column of its own, by jurisdiction."""
    names = list(Terms.model_fields)
    rows = database.execute(f"select jurisdiction, {', '.join(names)} from compliance_policy").fetchall()  # noqa: S608
    policy = default_policy()
    assert {row[0]: list(row[1:]) for row in rows} == {
        code: [getattr(policy.terms(code), name).value for name in names] for code in policy.jurisdictions
    }


def test_each_kind_of_finding_says_what_to_do(database: DuckDBPyConnection) -> None:
    rows = database.execute("select kind, severity, article, what_to_do from finding_kinds order by place").fetchall()
    assert [row[0] for row in rows] == [kind.value for kind in FindingKind]
    order = ["critical", "high", "medium", "low"]
    assert [order.index(row[1]) for row in rows] == sorted(order.index(row[1]) for row in rows)
    assert all("Art. " in row[2] and row[3] for row in rows)
