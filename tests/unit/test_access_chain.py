"""The access log's chain: whatever is done to its lines shows."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.access import (
    MOST_NAMED,
    START,
    Access,
    Chain,
    Head,
    Outcome,
    Read,
    Schema,
    broken,
    entry_of,
    line_of,
)

ids = st.uuids().map(lambda u: u.hex)
words = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)
accesses = st.builds(
    Access,
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    role=words,
    token=st.none() | words,
    what=st.sampled_from([read for read in Read if read is not Read.RETENTION]),
    outcome=st.sampled_from(Outcome),
    route=st.none() | st.sampled_from(["GET /v1/candidates/{ref}", "POST /v1/sql"]),
    request=st.none() | ids,
    candidates=st.lists(ids, max_size=3).map(tuple),
    count=st.none() | st.integers(0, 10**6),
    schemas=st.lists(st.sampled_from(Schema), max_size=2).map(tuple),
    statement=st.none() | st.binary().map(lambda b: sha256(b).hexdigest()),
    statement_chars=st.none() | st.integers(0, 10**6),
)
Lines = list[bytes]


def chained(records: list[Access], head: Head = START) -> Lines:
    lines = []
    for access in records:
        line, head = line_of(head, access)
        lines.append(line)
    return lines


logs = st.lists(accesses, min_size=2, max_size=8).map(chained)


def one(**fields: Any) -> Access:
    known = {"role": "analyst", "what": Read.PROFILE, "outcome": Outcome.SERVED}
    return Access(occurred_at=datetime(2026, 5, 4, tzinfo=UTC), **known | fields)


@given(logs)
def test_a_log_that_nobody_touched_is_whole_and_reads_as_it_was_written(lines: Lines) -> None:
    assert broken(lines, noted=entry_of(lines[-1]).head) == []
    assert [entry_of(line).number for line in lines] == list(range(1, len(lines) + 1))


@given(accesses, st.integers(0, 10**9))
def test_a_record_reads_as_it_was_written(access: Access, number: int) -> None:
    line, head = line_of(Head(number, "a" * 64), access)
    assert entry_of(line).access == access
    assert entry_of(line).head == head
    assert b"\n" not in line


@given(logs, st.data())
def test_any_changed_byte_is_found(lines: Lines, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[at][place]))
    changed = lines[at][:place] + bytes([other]) + lines[at][place + 1 :]
    assert broken([*lines[:at], changed, *lines[at + 1 :]])


@given(logs, st.data())
def test_any_removed_stretch_is_found(lines: Lines, data: st.DataObject) -> None:
    """At the front, too; at the end by what was noted, and by the stream's last sequence."""
    start = data.draw(st.integers(0, len(lines) - 1))
    stop = data.draw(st.integers(start + 1, len(lines)))
    left = lines[:start] + lines[stop:]
    assert broken(left, noted=entry_of(lines[-1]).head)
    if stop < len(lines):
        assert broken(left)


@given(logs, st.data())
def test_any_other_order_is_found(lines: Lines, data: st.DataObject) -> None:
    other = data.draw(st.permutations(lines))
    assume(other != lines)
    assert broken(other)


@given(logs, accesses, st.data())
def test_any_inserted_line_is_found(lines: Lines, access: Access, data: st.DataObject) -> None:
    """A copy of one that is there, or one that chains behind another, wherever it is put."""
    behind = data.draw(st.sampled_from(lines))
    foreign = data.draw(st.sampled_from([*lines, line_of(entry_of(behind).head, access)[0]]))
    place = data.draw(st.integers(0, len(lines)))
    changed = [*lines[:place], foreign, *lines[place:]]
    appended = place == len(lines) and foreign not in lines and behind == lines[-1]
    assert broken(changed) or appended


@given(logs, accesses, st.data())
def test_a_log_written_anew_with_a_whole_chain_is_found_by_what_was_noted(
    lines: Lines, access: Access, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    assume(entry_of(lines[at]).access != access)
    records = [entry_of(line).access for line in lines]
    forged = chained([*records[:at], access, *records[at + 1 :]])
    assert broken(forged) == []
    assert broken(forged, noted=entry_of(lines[-1]).head)


@given(st.lists(accesses, min_size=3, max_size=8), st.data())
def test_the_front_may_go_when_a_record_says_so_and_no_further(records: list[Access], data: st.DataObject) -> None:
    through = data.draw(st.integers(1, len(records) - 1))
    gone = one(role="node", what=Read.RETENTION, count=through, through=through)
    lines = chained([*records, gone])
    assert broken(lines[through:]) == []
    assert broken(lines) == [], "killed between the record and the removal"
    assert broken(lines[through + 1 :])


def test_what_is_found_is_told_once_and_the_check_goes_on() -> None:
    lines = chained([one(request=UUID(int=n).hex) for n in range(6)])
    chain = Chain()
    found = [chain.take(line) for line in (lines[0], lines[2], lines[3], lines[5])]
    assert found == [
        [],
        ["between records 1 and 3 some are missing"],
        [],
        ["between records 4 and 6 some are missing"],
    ]


@pytest.mark.parametrize("line", [b"", b"x", b"\xff" * 200, b"0" * 64 + b" " + b"0" * 64 + b" {}"])
def test_what_is_no_line_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(ValueError, match="access log"):
        entry_of(line)


@pytest.mark.parametrize(
    "field",
    [
        {"role": "ada@example.com"},
        {"token": "Ada Lovelace"},
        {"route": "GET /v1/candidates/ada@example.com"},
        {"candidates": ("ada@example.com",)},
        {"schemas": ("ada@example.com",)},
        {"statement": "select 'ada@example.com'"},
        {"request": "ada@example.com"},
        {"note": "ada@example.com"},
        {"candidates": tuple(UUID(int=n).hex for n in range(MOST_NAMED + 1))},
    ],
)
def test_a_record_takes_no_text_that_could_be_about_somebody(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        one(**field)


@given(st.text(max_size=90))
def test_a_head_is_what_a_head_prints_and_nothing_else(text: str) -> None:
    head = Head(12, "ab" * 32)
    assert Head.of(str(head)) == head
    assume(text != str(head))
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        Head.of(text)
