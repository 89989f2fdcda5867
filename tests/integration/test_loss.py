"""Loss and tampering are noticed: at the start, by `verify` to the very event, and healed by `restore` where that is
possible. On a real server killed by signal 9, with real damage to its files."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError

from api import restoring
from api.evidence import Evidence, evidence
from api.node import LedgerLost, Node
from api.restoring import Plan, plan, restore, unrecognised_in
from consumers.handing_out import handed_out
from consumers.loss import held_by
from consumers.restoring import RestoreRefused
from consumers.verification import Finding, Kind, Summary, verify
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import utc_now
from domain.interaction import Reference, parse
from domain.policy import Channel, ErasureGround
from infra.crypto.keyring import PEPPER
from infra.jetstream import Bucket
from infra.jetstream.batch import publish_one
from infra.jetstream.stream import erase_messages
from infra.logging import configure
from infra.recording import Accepted
from infra.settings import Settings
from projections import mirrored
from tests.damage import blocks, cut, flip_bit, places, stream_folder, swap
from tests.e2e.harness import alive, process, server_pid, until
from tests.views import with_empty_views

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
PEOPLE = 40
EARLY = 80
"""Events in the older copy."""
LAST = 260
"""Events in the newer one: enough of them large that the ledger lies in two files."""

Row = tuple[Any, ...]


def person(number: int) -> str:
    return f"p{number}@example.com"


def did(type_: str, who: int, second: int = 0, **data: Any) -> dict[str, Any]:
    at = f"2026-03-01T09:{second // 60:02}:{second % 60:02}Z"
    return {"type": type_, "candidate": {"email": person(who)}, "occurred_at": at, "data": data}


def record(node: Node, *documents: dict[str, Any]) -> None:
    outcomes = node.recording.record([parse(d) for d in documents], facts=True)
    assert all(isinstance(o, Accepted) for o in outcomes), outcomes


@contextmanager
def node_of(data: Path) -> Iterator[Node]:
    configure("critical")
    with Node(Settings(data=with_empty_views(data), port=0)) as node:
        yield node


@contextmanager
def killed(data: Path) -> Iterator[Node]:
    """A node whose server is killed by signal 9 in the end, when the views hold everything."""
    with node_of(data) as node:
        yield node
        node.wait_for(node.ledger.last_seq(), 60.0)
        assert node.server is not None
        assert node.server.pid is not None
        os.kill(node.server.pid, signal.SIGKILL)
        node.server.wait()


def rows(node: Node) -> list[Row]:
    """Everything the mirror knows, opened fields included."""
    node.wait_for(node.ledger.last_seq(), 60.0)
    with node.projector.cursor() as cursor:
        query = "select e.*, p.* from events e left join pii.events p using (seq) order by seq"
        return cursor.execute(query).fetchall()


@dataclass(frozen=True)
class Histories:
    """The same folder twice: after the first `EARLY` events, and after all of them."""

    early: Path
    whole: Path
    rows: list[Row]
    """The mirror of the whole one."""
    events: dict[int, tuple[str, int, str, str]]
    """Name, version, type and hash by seq."""
    claims: dict[str, bytes]


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    folder = tmp_path_factory.mktemp("histories")
    with killed(folder / "whole") as node:
        record(node, *(did("sourced", n, n) for n in range(PEOPLE)))
        record(node, *(did("tagged", n, n, tag="rust") for n in range(PEOPLE)))
        assert node.ledger.last_seq() == EARLY
    shutil.copytree(folder / "whole", folder / "early")
    with killed(folder / "whole") as node:
        record(node, *(did("replied", n % PEOPLE, n, text="🦀" * 10_000) for n in range(100)))
        record(node, *(did("opted_out", n, n, method="reply") for n in range(PEOPLE)))
        record(node, *(did("emailed", n, n, message=f"m{n}") | {"channel": "email"} for n in range(PEOPLE)))
        assert node.ledger.last_seq() == LAST
        seen = rows(node)
        with node.projector.cursor() as cursor:
            entries = mirrored.entries(cursor, 0, LAST)
        claims = Bucket(node.connection, "claims").load_all()
    assert len(blocks(folder / "whole")) == 2
    events = {e.seq: (e.name, e.version, e.type, e.hash.hex()) for e in entries}
    return Histories(folder / "early", folder / "whole", seen, events, claims)


@pytest.fixture
def data(histories: Histories, tmp_path: Path) -> Path:
    """A copy of the whole history, as the killed server left it."""
    return Path(shutil.copytree(histories.whole, tmp_path / "data"))


def refused_start(data: Path) -> str:
    """Why the node does not start: one sentence."""
    with pytest.raises(LedgerLost) as refusal, node_of(data):
        pass
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def verified(found: Evidence | Node) -> tuple[list[Finding], Summary]:
    if isinstance(found, Node):
        with found.projector.cursor() as cursor:
            items = list(verify(found.connection, found.stream, cursor))
    else:
        items = list(verify(found.connection, found.stream, found.cursor))
    summary = items[-1]
    assert isinstance(summary, Summary)
    return [i for i in items if isinstance(i, Finding)], summary


def verified_in(data: Path) -> tuple[list[Finding], Summary]:
    """By whoever cannot start the node."""
    with evidence(Settings(data=data)) as found:
        return verified(found)


def restored(data: Path, **accepted: bool) -> Plan:
    settings = Settings(data=data)
    with evidence(settings) as found:
        planned = plan(settings, found, lambda _: None)
        planned.require(**{"without_keys": False, "accept_gaps": False} | accepted)
        restore(settings, found, planned, lambda _: None)
    return planned


def named(findings: list[Finding]) -> dict[int, tuple[Any, ...]]:
    return {f.seq: (f.name, f.version, f.type, f.mirror_hash) for f in findings}


def is_as_before(data: Path, histories: Histories, *, refilled: bool = False) -> None:
    """The node starts, `verify` finds nothing, the ledger tells every event's time as before; with `refilled`, a mirror
    filled anew from it is the old one, `recorded_at` and hashes included."""
    with node_of(data) as node:
        assert verified(node)[0] == []
        assert node.ledger.last_seq() == LAST
        ids = {name.partition("-")[2] for name, *_ in histories.events.values()}
        told = {r.seq: r.recorded_at for history in node.ledger.histories(sorted(ids)).values() for r in history}
        assert told == {row[0]: row[1] for row in histories.rows}, "the ledger itself tells other times"
        record(node, did("tagged", 1, 59, tag="back"))
        assert node.ledger.last_seq() == LAST + 1
    if not refilled:
        return
    (data / "views.duckdb").unlink()
    (data / "views.duckdb.wal").unlink(missing_ok=True)
    with node_of(data) as node:
        assert rows(node)[:LAST] == histories.rows
        assert verified(node)[1].is_clean


Damage = Callable[[Path], list[int]]


def flipped_at_the_end(data: Path) -> list[int]:
    """The server cuts the last file off before the first message whose checksum is wrong."""
    flip_bit(data, LAST - 10)
    return list(range(LAST - 10, LAST + 1))


def cut_at_the_end(data: Path) -> list[int]:
    cut(data, LAST - 3)
    return list(range(LAST - 3, LAST + 1))


def folder_removed(data: Path) -> list[int]:
    shutil.rmtree(stream_folder(data))
    return list(range(1, LAST + 1))


def files_removed(data: Path) -> list[int]:
    for path in blocks(data):
        path.unlink()
    return list(range(1, LAST + 1))


TAILS = [flipped_at_the_end, cut_at_the_end, folder_removed, *([files_removed] if SOAK else [])]


@pytest.mark.parametrize("damage", TAILS)
def test_a_lost_tail_is_noticed_named_and_put_back(data: Path, histories: Histories, damage: Damage) -> None:
    """At the start with its extent, by `verify` with each event, and after `restore` all is as it was."""
    lost = damage(data)
    sentence = refused_start(data)
    assert f"lost {len(lost):,} of its events ({lost[0]:,} to {lost[-1]:,})" in sentence
    assert "rapport restore" in sentence
    findings, summary = verified_in(data)
    assert named(findings) == {seq: histories.events[seq] for seq in lost}
    assert summary.findings == {Kind.MISSING: len(lost)}
    planned = restored(data)
    assert planned.survey.lost == (lost[0], LAST)
    assert planned.survey.census.events == len(lost)
    is_as_before(data, histories, refilled=damage is flipped_at_the_end)


def flipped_in_the_middle(data: Path) -> list[int]:
    """The server cuts off the file in which the damage lies, and goes on with the next file."""
    flip_bit(data, EARLY + 20)
    first_file = blocks(data)[0]
    return list(range(EARLY + 20, 1 + max(seq for seq, p in places(data) if p.path == first_file)))


def cut_in_the_middle(data: Path) -> list[int]:
    return list(range(EARLY + 30, 1 + cut(data, EARLY + 30)))


def first_file_removed(data: Path) -> list[int]:
    last = max(seq for seq, p in places(data) if p.path == blocks(data)[0])
    blocks(data)[0].unlink()
    return list(range(1, last + 1))


HOLES = [flipped_in_the_middle, cut_in_the_middle, *([first_file_removed] if SOAK else [])]


@pytest.mark.parametrize("damage", HOLES)
def test_a_hole_is_noticed_named_and_healed_by_building_the_ledger_anew(
    data: Path, histories: Histories, damage: Damage
) -> None:
    """A seq that was passed is not given again, so `restore` refuses, and says how the mirror gives all of it back."""
    lost = damage(data)
    assert lost[-1] < LAST
    assert f"lost {len(lost):,} of its events ({lost[0]:,} to {lost[-1]:,})" in refused_start(data)
    findings, summary = verified_in(data)
    assert named(findings) == {seq: histories.events[seq] for seq in lost}
    assert summary.findings == {Kind.MISSING: len(lost)}
    with pytest.raises(RestoreRefused, match="elsewhere and run `rapport restore` again"):
        restored(data)
    stream_folder(data).rename(data / "LEDGER.aside")
    assert restored(data).survey.lost == (1, LAST)
    is_as_before(data, histories, refilled=damage is flipped_in_the_middle)


def test_any_damage_to_the_files_is_noticed_at_the_start_and_healed(histories: Histories, tmp_path: Path) -> None:
    """A bit anywhere or in a message's head, a cut, zeros, a file gone. Whatever the server makes of it: the node does
    not start as if nothing were lost, each event is told to be there or missing, and the mirror gives all of it back.
    RAPPORT_SEED repeats a run."""
    seed = int(os.environ.get("RAPPORT_SEED") or secrets.randbits(32))
    print(f"RAPPORT_SEED={seed}")
    chance = random.Random(seed)
    for round_ in range(40 if SOAK else 2):
        data = Path(shutil.copytree(histories.whole, tmp_path / f"data{round_}"))
        path = chance.choice(blocks(data))
        size = path.stat().st_size
        what = chance.choice(["bit", "head", "cut", "zeros", "gone"])
        starts = [place.start for _, place in places(data) if place.path == path]
        at = chance.choice(starts) + chance.randrange(22) if what == "head" else chance.randrange(size)
        print(round_, path.name, what, at, flush=True)
        with path.open("r+b") as file:
            file.seek(at)
            if what in ("bit", "head"):
                (byte,) = file.read(1)
                file.seek(at)
                file.write(bytes([byte ^ 1 << chance.randrange(8)]))
            elif what == "zeros":
                file.write(bytes(min(chance.randrange(1, 10_000), size - at)))
            elif what == "cut":
                file.truncate(at)
        if what == "gone":
            path.unlink()
        refused_start(data)
        with evidence(Settings(data=data)) as found:
            findings, summary = verified(found)
            there = {m.seq for m in handed_out(found.connection, found.stream, 0, LAST)}
        missing = [f.seq for f in findings if f.kind is Kind.MISSING]
        assert missing == [seq for seq in range(1, LAST + 1) if seq not in there]
        assert missing
        assert summary.findings == {Kind.MISSING: len(missing)}
        if summary.ledger_last_seq >= missing[0]:
            stream_folder(data).rename(data / "LEDGER.aside")
        restored(data)
        is_as_before(data, histories)
        shutil.rmtree(data)


# Within the first of the two batches, which the server then completes: a batch that it has begun to store, it stores.
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5] if SOAK else [0.3])
def test_a_restore_killed_in_the_middle_is_resumed(data: Path, histories: Histories, part: float) -> None:
    """By signal 9, command and server: what was put back stays, and the next one begins behind it."""
    size = sum(path.stat().st_size for path in blocks(data))
    folder_removed(data)
    with process(data, "restore", "--yes") as running:
        until(lambda: sum(path.stat().st_size for path in blocks(data)) > part * size)
        server = server_pid(data)
        running.kill()
        os.kill(server, signal.SIGKILL)
        until(lambda: not alive(server))
    with evidence(Settings(data=data)) as found:
        reached = held_by(found.connection, found.stream).last_seq
        assert 0 < reached < LAST
        assert [f.seq for f in verified(found)[0]] == list(range(reached + 1, LAST + 1))
    assert restored(data).survey.lost == (reached + 1, LAST)
    is_as_before(data, histories, refilled=True)


def test_an_older_copy_of_the_ledger_is_noticed_and_brought_up_to_date(data: Path, histories: Histories) -> None:
    swap(data, histories.early)
    assert f"lost {LAST - EARLY:,} of its events ({EARLY + 1:,} to {LAST:,})" in refused_start(data)
    assert list(named(verified_in(data)[0])) == list(range(EARLY + 1, LAST + 1))
    restored(data)
    is_as_before(data, histories)


@pytest.mark.parametrize("ends_at", [LAST - 20, LAST, LAST + 40] if SOAK else [LAST - 20, LAST + 40])
def test_an_older_copy_that_has_grown_since_is_noticed_and_never_mixed(
    data: Path, histories: Histories, tmp_path: Path, ends_at: int
) -> None:
    """Whether it has come as far as the mirror, or farther: its last events are not those that the mirror saw."""
    other = tmp_path / "other"
    shutil.copytree(histories.early, other)
    with killed(other) as node:
        record(node, *(did("tagged", n % PEOPLE, 59, tag=f"t{n}") for n in range(ends_at - EARLY)))
        assert node.ledger.last_seq() == ends_at
    swap(data, other)
    sentence = refused_start(data)
    assert ("others in place of" in sentence) == (ends_at >= LAST)
    findings, summary = verified_in(data)
    altered = [f.seq for f in findings if f.kind is Kind.ALTERED]
    assert altered == list(range(EARLY + 1, min(ends_at, LAST) + 1))
    assert all(f.ledger_hash != f.mirror_hash for f in findings if f.kind is Kind.ALTERED)
    assert {f.seq: f.mirror_hash for f in findings if f.seq <= LAST} == {
        seq: histories.events[seq][3] for seq in range(EARLY + 1, LAST + 1)
    }
    assert not summary.is_clean
    before = blocks(data)[0].read_bytes()
    with pytest.raises(RestoreRefused, match="two histories are never mixed"):
        restored(data)
    assert blocks(data)[0].read_bytes() == before


def test_a_bit_flipped_under_a_server_that_was_stopped_cleanly_is_named(
    histories: Histories, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a server believes its index and does not look at what it counts: it starts, and passes the event over.
    No count betrays that, so farther back than a start looks it is `verify` that does, also beside a running node."""
    monkeypatch.setattr("consumers.loss.TAIL", 50)
    with node_of(data):
        pass
    flip_bit(data, EARLY + 20)
    with node_of(data) as node:
        findings, summary = verified(node)
    assert named(findings) == {EARLY + 20: histories.events[EARLY + 20]}
    assert summary.withheld == 1
    assert not summary.is_clean


def test_an_opt_out_that_the_ledger_lost_in_silence_does_not_turn_into_a_yes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last event of a person, passed over by the server, leaves no gap in the versions: the mirror knows better."""
    monkeypatch.setattr("consumers.loss.TAIL", 10)
    with node_of(data) as node:
        record(node, did("sourced", 777), did("consent_given", 777, 1, notice_version="1", method="form"))
        id_ = node.recording.resolve(parse(did("tagged", 777, tag="x")).candidate)
        assert node.standing(id_, Channel.EMAIL, "recruiting")[0].contactable
        record(node, did("opted_out", 777, 2, method="reply"))
        assert not node.standing(id_, Channel.EMAIL, "recruiting")[0].contactable
        record(node, *(did("tagged", 9, 3, tag=f"t{n}") for n in range(20)))
        node.wait_for(LAST + 23)
    flip_bit(data, LAST + 3)
    with node_of(data) as node:
        with pytest.raises(UnreadableCandidate, match="rapport verify"):
            node.standing(id_, Channel.EMAIL, "recruiting")
        with pytest.raises(UnreadableCandidate, match="rapport verify"):
            node.histories(id_)
        email = did("emailed", 777, 59, message="m") | {"channel": "email", "occurred_at": utc_now().isoformat()}
        (outcome,) = node.recording.record([parse(email)], facts=False)
        assert outcome.code == "unreadable-candidate", outcome


def test_a_bit_flipped_in_the_last_event_under_such_a_server_stops_the_node(histories: Histories, data: Path) -> None:
    with node_of(data):
        pass
    flip_bit(data, LAST)
    assert f"lost 1 of its events ({LAST})" in refused_start(data)
    findings, summary = verified_in(data)
    assert named(findings) == {LAST: histories.events[LAST]}
    assert summary.withheld == 1


def test_what_was_done_to_ledger_or_mirror_by_hand_is_told_apart(data: Path, histories: Histories) -> None:
    """Deleted, published past us, changed in the mirror: each is a finding of its own kind, and of no other event."""
    with node_of(data) as node:
        node.wait_for(LAST)
        name = histories.events[1][0]
        subject = f"ledger.candidate.{name[10:12]}.{name[10:]}"
        node.connection.call(erase_messages(node.connection, node.stream, [7]))
        with node.projector.lock:
            change = node.projector.connection.execute
            change("update pii.events set body = 'x'::blob where seq = 11")
            change("update pii.events set hash = 'x'::blob where seq = 12")
            change("update pii.events set recorded_at = recorded_at + interval 1 hour where seq = 13")
            change("update pii.events set version = 9 where seq = 14")
            change("delete from pii.events where seq = 15")
        node.projecting.stop()
        publish = publish_one
        for body in (
            b"rubbish of ada@example.com",
            b'{"id":"' + name.encode() + b'","version":99,"type":"tagged","state":{}}',
        ):
            node.connection.call(publish(node.connection, subject, body, None, timeout_s=5.0))
        findings, summary = verified(node)
    kinds = [(f.kind, f.seq) for f in findings if not f.detail.startswith("version")]
    expected = [(Kind.MISSING, 7), (Kind.MIRROR, 11), (Kind.MIRROR, 12), (Kind.ALTERED, 12), (Kind.ALTERED, 13)]
    assert kinds == [(Kind.TREE, 1), *expected, (Kind.ALTERED, 14), (Kind.FOREIGN, 15), (Kind.BROKEN, LAST + 1)]
    assert "recorded_at" in next(f.detail for f in findings if f.seq == 13)
    versions = [f.seq for f in findings if f.kind is Kind.BROKEN and f.detail.startswith("version")]
    of_14, of_15 = histories.events[14][0], histories.events[15][0]
    after = {of: next(s for s, e in histories.events.items() if e[0] == of and s > 15) for of in (of_14, of_15)}
    assert versions == [LAST + 2, 14, *sorted(after.values())]
    assert sum(summary.findings.values()) == len(findings)
    assert "example.com" not in str(findings)


def test_what_was_no_event_from_the_start_keeps_nobody_from_starting_or_restoring(data: Path) -> None:
    """It lies in ledger and mirror alike. It is broken, and not lost; what it says is not repeated."""
    with killed(data) as node:
        for body in (b"rubbish of ada@example.com", b'{"id":"ada","version":1,"type":"ada@example.com","state":{}}'):
            node.connection.call(publish_one(node.connection, "ledger.ada", body, None, timeout_s=5.0))
        node.wait_for(LAST + 2)
    with killed(data) as node:
        record(node, did("tagged", 1, 59, tag="on"))
        findings, _ = verified(node)
    assert {f.seq for f in findings} == {LAST + 1, LAST + 2}
    assert {f.kind for f in findings} == {Kind.BROKEN}
    assert "ada" not in str(findings)
    flip_bit(data, LAST + 3)
    assert f"({LAST + 3})" in refused_start(data)
    assert restored(data).survey.lost == (LAST + 3, LAST + 3)
    assert verified_in(data)[0] == findings
    cut(data, LAST + 1)
    with pytest.raises(RestoreRefused, match="no events"):
        restored(data)


def test_keys_that_are_gone_are_not_made_up(data: Path) -> None:
    """A new pepper would make a second person of everybody, and new keys would hide that the old ones are gone."""
    shutil.rmtree(stream_folder(data, "KV_keys"))
    sentence = refused_start(data)
    assert f"keys of {PEOPLE}" in sentence
    assert "--without-keys" in sentence
    refused_start(data)
    with evidence(Settings(data=data)) as found:
        assert Bucket(found.connection, "keys").get(PEPPER) is None
    with pytest.raises(RestoreRefused, match="--without-keys"):
        restored(data)


def test_some_keys_gone_are_noticed_as_well(data: Path) -> None:
    last = max(seq for seq, _ in places(data, "KV_keys"))
    cut(data, last - 2, "KV_keys")
    assert "keys of 3 candidates" in refused_start(data)
    assert verified_in(data)[1].keys_lost == 3


def test_a_key_that_cannot_be_read_under_a_server_that_was_stopped_cleanly_is_counted(data: Path) -> None:
    with node_of(data):
        pass
    flip_bit(data, max(seq for seq, _ in places(data, "KV_keys")), "KV_keys")
    with node_of(data) as node:
        findings, summary = verified(node)
    assert (findings, summary.keys_lost, summary.is_clean) == ([], 1, False)


def test_without_keys_events_come_back_and_nobody_is_taken_for_a_new_person(data: Path, histories: Histories) -> None:
    """The whole store is gone. What the mirror had opened stays in it; the trail is refused rather than guessed."""
    shutil.rmtree(data / "nats" / "jetstream")
    with pytest.raises(RestoreRefused, match="--without-keys"):
        restored(data)
    planned = restored(data, without_keys=True)
    assert planned.keys_lost == PEOPLE
    assert any("nobody can open" in sentence for sentence in planned.sentences())
    with node_of(data) as node:
        assert verified(node)[1].is_clean
        assert rows(node) == histories.rows
        (outcome,) = node.recording.record([parse(did("sourced", 3, 59))], facts=True)
        assert outcome.code == "unreadable-candidate", outcome
        record(node, {**did("sourced", 0), "candidate": {"email": "new@example.com"}})
    with node_of(data) as node:
        assert node.ledger.last_seq() == LAST + 1


def test_a_lost_pepper_costs_the_suppressions_of_the_erased_and_only_by_name(tmp_path: Path) -> None:
    """Another makes other hashes, so nobody who was erased is recognised: that is said, accepted, and kept in mind."""
    data = tmp_path / "data"
    with node_of(data) as node:
        record(node, did("sourced", 1), did("sourced", 2))
        node.wait_for(node.ledger.last_seq())
        id_ = node.claims.resolve([f"email:{person(1)}"])[f"email:{person(1)}"]
        erasure = node.erasing.erase(id_, ErasureGround.OBJECTION, "user:dpo")
        certificate = node.erasing.certificate_of(erasure)
        until(certificate.exists)
        (outcome,) = node.recording.record([parse(did("sourced", 1, 1))], facts=True)
        assert outcome.code == "erased", outcome
        assert node.suppressions.unrecognised() is None
    assert "recognised" not in certificate.read_text("utf-8")
    settings = Settings(data=data)
    with evidence(settings) as found:
        Bucket(found.connection, "keys").delete(PEPPER)
    assert "pepper" in refused_start(data)
    with pytest.raises(RestoreRefused, match=r"1 identifiers of erased people.*--without-suppressions"):
        restored(data)
    planned = restored(data, without_suppressions=True)
    assert any("not recognised any more" in sentence for sentence in planned.sentences())
    with evidence(settings) as found:
        assert plan(settings, found, lambda _: None).is_nothing
        told = unrecognised_in(found, settings)
    assert told is not None
    assert told.identifiers == 1
    with node_of(data) as node:
        assert node.suppressions.unrecognised() == told
        assert node.status()["unrecognised"] == {"identifiers": 1, "since": told.since.isoformat()}
        assert verified(node)[1].is_clean
        until(lambda: "1 of these are not recognised any more" in certificate.read_text("utf-8"))
        record(node, did("sourced", 1, 2), did("sourced", 2, 2))
        node.wait_for(node.ledger.last_seq())
        assert node.claims.resolve([f"email:{person(1)}"])[f"email:{person(1)}"] != id_


def test_claims_that_are_gone_are_made_again_as_they_were(data: Path, histories: Histories) -> None:
    shutil.rmtree(stream_folder(data, "KV_claims"))
    assert "rapport restore" in refused_start(data)
    restored(data)
    with node_of(data) as node:
        assert Bucket(node.connection, "claims").load_all() == histories.claims
        record(node, did("tagged", 3, 59, tag="known"))
        assert node.ledger.last_seq() == LAST + 1


def test_claims_are_made_also_of_what_the_mirror_has_not_seen(data: Path) -> None:
    """The views' file is one of before; somebody was recorded behind it, and somebody erased."""
    for name in ("views.duckdb", "views.duckdb.wal"):
        if (data / name).exists():
            shutil.copy(data / name, data / f"{name}.before")
    with node_of(data) as node:
        record(node, did("sourced", 70, 1), did("sourced", 71, 1))
        new, gone = (node.recording.resolve(Reference(email=person(n))) for n in (70, 71))
        node.wait_for(node.ledger.last_seq())
        again = node.recording.resolve(Reference(email=person(3)))
        for id_ in (gone, again):
            node.erasing.erase(id_, ErasureGround.OBJECTION, "user:dpo")
        until(lambda: all(erasure.is_done for erasure in node.erasures.all()))
        node.suppressions.lift(f"email:{person(3)}", "they applied again", "user:dpo")
        record(node, did("sourced", 3, 2))
        again = node.recording.resolve(Reference(email=person(3)))
    for name in ("views.duckdb", "views.duckdb.wal"):
        (data / name).unlink(missing_ok=True)
        if (data / f"{name}.before").exists():
            (data / f"{name}.before").rename(data / name)
    shutil.rmtree(stream_folder(data, "KV_claims"))
    restored(data, without_suppressions=True)
    with node_of(data) as node:
        assert node.recording.resolve(Reference(email=person(70))) == new
        assert node.recording.resolve(Reference(email=person(3))) == again, "not the one who was erased"
        with pytest.raises(ErasedCandidate):
            node.recording.resolve(Reference(email=person(71)))


@pytest.mark.parametrize("gone", ["KV_claims", "pepper"])
def test_a_restore_that_was_interrupted_amid_the_claims_is_done_to_its_end(
    data: Path, histories: Histories, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the claims are not taken for all of them, nor those that another pepper made."""
    if gone == "pepper":
        with node_of(data) as node:
            Bucket(node.connection, "keys").destroy("pepper")
    else:
        shutil.rmtree(stream_folder(data, gone))

    def interrupted(claims: Any, cursor: Any, _tail: Any) -> int:
        kind, identifier, id_ = mirrored.identifiers(cursor)[-1]
        claims.claim({identifier: id_} if kind != "pool" else {})
        raise OperationalError("killed")

    with monkeypatch.context() as first:
        first.setattr(restoring, "claim_again", interrupted)
        with pytest.raises(OperationalError, match="killed"):
            restored(data)
    assert "claims" in refused_start(data)
    restored(data)
    with node_of(data) as node:
        assert len(node.claims.resolve([f"email:{person(3)}"])) == 1
        record(node, did("tagged", 3, 59, tag="known"))
        assert node.ledger.last_seq() == LAST + 1
        assert verified(node)[1].is_clean


def test_views_stop_at_a_hole_in_the_ledger_until_it_is_accepted(tmp_path: Path) -> None:
    """An event lost before the views saw it is in nobody's books. It is not passed over in silence: the views stand
    still, the node does not start again, and an operator has to accept the loss by name."""
    data = tmp_path / "data"
    with node_of(data) as node:
        record(node, *(did("sourced", n, n) for n in range(5)))
        node.wait_for(5)
        node.projecting.stop()
        record(node, *(did("tagged", n, n, tag="rust") for n in range(4)))
        node.connection.call(erase_messages(node.connection, node.stream, [7]))
        again = type(node.projecting)(node.projecting._reader, node.projector, node.keyring, 100)
        again.start()
        try:
            until(lambda: again.failure)
        finally:
            again.stop()
        assert node.projector.checkpoint == 6
        assert "(7)" in str(again.failure)
    assert "lost 1 of its events (7)" in refused_start(data)
    findings, _ = verified_in(data)
    assert [(f.kind, f.seq, f.last_seq) for f in findings if f.kind is Kind.GAP] == [(Kind.GAP, 7, 7)]
    assert [f.detail for f in findings if f.kind is Kind.BROKEN] == []
    with pytest.raises(RestoreRefused, match="--accept-gaps"):
        restored(data)
    restored(data, accept_gaps=True)
    with node_of(data) as node:
        node.wait_for(9)
        assert verified(node)[1].is_clean
