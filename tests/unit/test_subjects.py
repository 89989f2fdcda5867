"""Ids and subjects map one to one."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from eventsourcing.persistence import DataError
from hypothesis import given
from hypothesis import strategies as st

from infra.jetstream.subjects import originator_of, subject_of

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
OURS = st.builds("{}-{}".format, st.from_regex(r"[a-z]+", fullmatch=True) | st.sampled_from(["uuid", "name"]), HEX)
IDS = st.uuids() | OURS | st.text() | st.uuids().map(str) | HEX


@given(IDS, st.sampled_from(["ledger", "ledger_snapshots", "a.b"]))
def test_every_id_comes_back_exactly(originator_id: UUID | str, prefix: str) -> None:
    back = originator_of(prefix, subject_of(prefix, originator_id))
    assert back == originator_id
    assert type(back) is type(originator_id)


@given(IDS, IDS)
def test_different_ids_never_share_a_subject(one: UUID | str, other: UUID | str) -> None:
    assert (subject_of("ledger", one) == subject_of("ledger", other)) == (one == other)


@given(IDS)
def test_a_subject_is_four_plain_tokens(originator_id: UUID | str) -> None:
    assert re.fullmatch(r"ledger\.[a-z]+\.[0-9a-f]{2}\.x?[0-9a-f]*", subject_of("ledger", originator_id))


def test_our_ids_keep_their_kind_and_shard() -> None:
    assert subject_of("ledger", "candidate-9f" + "0" * 30) == "ledger.candidate.9f.9f" + "0" * 30


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match="UTF-8"):
        subject_of("ledger", "\ud800")


@pytest.mark.parametrize("subject", ["other.candidate.9f.9f", "ledger.candidate.9f", "ledger", "ledgers.a.b.c"])
def test_a_foreign_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="not the subject of an aggregate"):
        originator_of("ledger", subject)
