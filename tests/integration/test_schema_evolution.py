"""Events of old schema versions, on a real ledger: commands, trail and views see them as the newest version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from consumers.projecting import table_of
from domain import candidate as c
from domain.candidate import Candidate
from domain.event import Event
from domain.upcasters import UPCASTERS, Step
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.duckdb import open_database
from infra.history import fold
from infra.jetstream import Bucket, JetStreamApplicationRecorder, LedgerCorruptedError, LedgerReader, RawMessage
from infra.jetstream.message import decode
from infra.jetstream.message import encode as body_of
from infra.ledger import Ledger
from projections import MirrorOutdated, Projector, queries
from tests.older import NEWEST, sealed_by_hand, stored_as, three_versions
from tests.servers import fresh_name, fresh_recorder, shared_connection
from tests.unit.histories import CANDIDATES, EPOCH, anything, examples, histories, merges
from tests.views import empty_views


@pytest.fixture(scope="module", autouse=True)
def versions() -> Iterator[None]:
    with three_versions():
        yield


@dataclass(frozen=True)
class Room:
    """An empty ledger, with a memory and keys of its own."""

    recorder: JetStreamApplicationRecorder
    bucket: Bucket
    keyring: Keyring
    ledger: Ledger

    def store(self, *events: StoredEvent) -> None:
        self.recorder.insert_events(events)

    def key(self, name: str) -> bytes:
        return self.keyring.make([name])[name]

    def messages(self) -> list[RawMessage]:
        reader = LedgerReader(self.recorder.connection, self.recorder.stream)
        return [message for batch in reader.read_batches(0) for message in batch]


def room() -> Room:
    bucket, recorder = Bucket(shared_connection(), fresh_name("keys")), fresh_recorder()
    keyring = Keyring(bucket, LocalMasterKey(new_key()))
    return Room(recorder, bucket, keyring, Ledger(recorder, keyring))


@pytest.fixture
def projector(tmp_path: Path) -> Iterator[Projector]:
    with closing(open_database(empty_views(tmp_path / "rapport.duckdb"))) as connection:
        yield Projector(connection)


def tagged(day: int, tag: str) -> c.Tagged:
    return c.Tagged(occurred_at=EPOCH.replace(day=day), actor="user:x", source="ats", interaction=f"i-{day}", tag=tag)


@given(histories(*anything, merges, max_size=20), st.lists(st.integers(1, NEWEST), min_size=20, max_size=20))
@examples(40)
def test_commands_and_views_make_of_old_events_what_they_make_of_new_ones(history: list, vs: Sequence[int]) -> None:
    """Whatever happened and whichever version each event was stored in; the stored version stays known."""
    here = room()
    names = {r.id: f"candidate-{r.id}" for r in history}
    keys = here.keyring.make(names.values())
    newest = []
    for r, v in zip(history, vs, strict=False):
        here.store(stored_as(v, names[r.id], r.version, r.event, keys[names[r.id]]))
        newest.append(body_of(codec.encode(names[r.id], r.version, r.event, keys[names[r.id]])))
    messages = here.messages()

    for id_, found in zip(CANDIDATES, here.ledger.histories(CANDIDATES).values(), strict=True):
        happened = [r.event for r in history if r.id == id_]
        assert [r.event for r in found] == happened
        again = [replace(r, event=event) for r, event in zip(found, happened, strict=True)]
        assert here.ledger.candidates([id_], fresh=True) == {id_: fold(Candidate(id_), again)}

    shown = table_of(messages, here.keyring)
    as_new = table_of([m._replace(body=b) for m, b in zip(messages, newest, strict=True)], here.keyring)
    assert shown.drop(["v", "body", "personal"]).equals(as_new.drop(["v", "body", "personal"]))
    assert [json.loads(p) for p in shown["personal"].to_pylist()] == [
        json.loads(p) for p in as_new["personal"].to_pylist()
    ]
    assert shown["problem"].null_count == len(history)
    assert shown["v"].to_pylist() == list(vs[: len(history)])
    assert shown["body"].to_pylist() == [m.body for m in messages]

    for name in names.values():
        here.bucket.delete(name)
        here.keyring.forget(name)
    erased = table_of(messages, here.keyring)
    assert erased.drop("personal").equals(shown.drop("personal"))
    assert erased["personal"].null_count == len(history)


def test_views_and_mirror_hold_old_events_in_the_newest_form_beside_their_stored_bytes(projector: Projector) -> None:
    here, id_ = room(), uuid4().hex
    name = f"candidate-{id_}"
    key = here.key(name)
    sourced = c.Sourced(occurred_at=EPOCH, actor="user:x", source="ats", first_name="Ada", skills=("sql",))
    events: list[Event] = [sourced, tagged(2, "python"), tagged(3, "go")]
    here.store(*(stored_as(n, name, n, event, key) for n, event in enumerate(events, start=1)))
    projector.apply(table_of(here.messages(), here.keyring))
    cur = projector.cursor()
    rows = cur.execute("select v, source, body, hash = unhex(sha256(body)) from events order by seq").fetchall()
    assert [(v, source, hashed) for v, source, _, hashed in rows] == [(n, "ats", True) for n in (1, 2, 3)]
    assert [body for _, _, body, _ in rows] == [m.body for m in here.messages()]
    assert cur.execute("select tag, actor, interaction from pii.events order by seq").fetchall() == [
        (None, "user:x", None), ("python", "user:x", "i-2"), ("go", "user:x", "i-3"),
    ]  # fmt: skip
    profile = queries.profile(cur, id_)
    assert profile is not None
    assert (profile["first_name"], profile["skills"], sorted(profile["tags"])) == ("Ada", ["sql"], ["go", "python"])
    assert [r.event for r in here.ledger.histories([id_])[id_]] == events
    assert cur.execute("select count(*) from ops.dead_letters").fetchone() == (0,)


def test_an_event_that_no_step_can_read_waits_for_views_and_commands_alike(
    projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reason that names type and version, and nothing that the event says. Others go on."""

    def stumble(personal: dict, _: dict) -> dict:
        raise ValueError(f"no tag in {personal}")

    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 1), Step(personal=stumble))
    here, broken, other = room(), uuid4().hex, uuid4().hex
    for id_, v in ((broken, 1), (other, 2)):
        name = f"candidate-{id_}"
        sourced = c.Sourced(occurred_at=EPOCH, actor="user:x", source="ats")
        here.store(codec.encode(name, 1, sourced, here.key(name)))
        here.store(stored_as(v, name, 2, tagged(2, "secret-tag"), here.key(name)))
    projector.apply(table_of(here.messages(), here.keyring))
    reason = "candidate event tagged of version 1 cannot be read as version 2: ValueError"
    (letter,) = queries.dead_letters(projector.cursor())
    assert (letter["id"], letter["version"], letter["problem"]) == (broken, 2, f"UpcastError: {reason}")
    states = here.ledger.candidates([broken, other])
    assert states[broken].unreadable is not None
    assert states[broken].unreadable.endswith(reason)
    assert (states[other].unreadable, states[other].version) == (None, 2)
    assert projector.cursor().execute("select v from events order by seq").fetchall()[3] == (2,)


@pytest.mark.parametrize(
    ("type_", "v", "reason"),
    [
        ("tagged", NEWEST + 1, "candidate event tagged has schema version 4, known up to 3; upgrade Rapport"),
        ("teleported", 1, "unknown candidate event teleported; it was written by a newer Rapport"),
    ],
)
def test_what_a_newer_rapport_wrote_waits_for_views_and_commands_alike(
    projector: Projector, type_: str, v: int, reason: str
) -> None:
    here, id_ = room(), uuid4().hex
    name = f"candidate-{id_}"
    clear = {"occurred_at": "2026-01-01T00:00:00Z", "actor_kind": "user"}
    here.store(sealed_by_hand(name, 1, type_, v, clear, {"actor": "user:x", "tag": "python"}, here.key(name)))
    projector.apply(table_of(here.messages(), here.keyring))
    (letter,) = queries.dead_letters(projector.cursor())
    assert letter["problem"] == f"UnknownEventError: {reason}"
    assert here.ledger.candidates([id_])[id_].unreadable is not None


def test_an_event_under_the_subject_of_another_is_nobodys(projector: Projector) -> None:
    """A copied event does not count twice; the aggregate it lies under waits, the one it was copied from does not."""
    here, mine, other = room(), uuid4().hex, uuid4().hex
    name = f"candidate-{mine}"
    here.store(codec.encode(name, 1, c.Sourced(occurred_at=EPOCH, actor="user:x", source="ats"), here.key(name)))
    (original,) = here.messages()
    subject = original.subject.replace(f"{mine[:2]}.{mine}", f"{other[:2]}.{other}")
    projector.apply(table_of([original, original._replace(seq=2, subject=subject)], here.keyring))
    (letter,) = queries.dead_letters(projector.cursor())
    assert (letter["seq"], letter["id"]) == (2, other)
    assert "under whose subject" in letter["problem"]


FOREIGN = {
    "type is no text": b'{"id":"candidate-%b","version":1,"type":["a"],"state":{"v":1}}',
    "type is no UTF-8": b'{"id":"candidate-%b","version":1,"type":"\xff","state":{"v":1}}',
    "version is no number": b'{"id":"candidate-%b","version":"1","type":"tagged","state":{"v":1}}',
    "version is too large": b'{"id":"candidate-%b","version":99999999999999999999,"type":"tagged","state":{"v":1}}',
    "version is negative": b'{"id":"candidate-%b","version":-1,"type":"tagged","state":{"v":1}}',
    "id is no text": b'{"id":5,"version":null,"type":null,"state":null}',
    "no object": b"[1,2,3]",
    "nothing": b"",
}


@pytest.mark.parametrize("place", ["candidate.{shard}.{id}", "uuid.zz.zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "x"])
@pytest.mark.parametrize("body", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_event_is_named_on_reading_and_stops_no_view(projector: Projector, place: str, body: bytes) -> None:
    """Whatever somebody else wrote into the stream: readers raise one kind of error, and the views go on."""
    here, id_ = room(), uuid4().hex
    subject = f"ledger.{place.format(shard=id_[:2], id=id_)}"
    message = RawMessage(1, 1_700_000_000_000_000_000, subject, body.replace(b"%b", id_.encode()))
    with pytest.raises(LedgerCorruptedError):
        decode("ledger", subject, 1, message.body)
    projector.apply(table_of([message], here.keyring))
    (letter,) = queries.dead_letters(projector.cursor())
    assert letter["seq"] == 1


def test_a_mirror_filled_under_other_schema_versions_is_not_gone_on_with(
    projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows show events in a form that the views no longer read."""
    Projector(projector.connection)
    monkeypatch.setattr(c.Tagged, "v", NEWEST + 1)
    with pytest.raises(MirrorOutdated, match="move the file away and it is filled anew"):
        Projector(projector.connection)
