"""Comparing all of a stretch at once finds what comparing event by event does, in the same order. On a real server and
a real file, with damage to both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.node import Node
from consumers import verification
from consumers.verification import Finding, Progress, Summary, verify
from domain.checkpoint import Checkpoint
from domain.interaction import parse
from infra.jetstream.batch import publish_one
from infra.jetstream.stream import erase_messages
from infra.logging import configure
from infra.settings import Settings

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
PEOPLE = 30
USUAL = 300
"""Events as Rapport writes them, first: enough for a node of the tree."""
ID = "0123456789abcdef0123456789abcdef"
OTHER = "ab" * 16

ODD = [
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":1,"type":"sourced","state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":1234567890,"type":"sourced","state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":02,"type":"sourced","state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":-1,"type":"sourced","state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id": "candidate-{ID}", "version": 2, "type": "sourced" ,"state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":3,"type":"sou\\u0072ced","state":{{}}}}'),
    (f"candidate.01.{ID}", f'{{"id":"candidate-{ID}","version":4,"type":"sourced","state64":"AAEC"}}'),
    (f"candidate.ff.{ID}", f'{{"id":"candidate-{ID}","version":5,"type":"sourced","state":{{}}}}'),
    (f"candidate.ab.{OTHER}", f'{{"id":"candidate-{ID}","version":6,"type":"sourced","state":{{}}}}'),
    (f"candidate.ab.{OTHER}", f'{{"id":"candidate-{OTHER}","version":1,"type":"s","state":{{"a":"b","state":{{}}}}}}'),
    ("ada", '{"id":"ada","version":1,"type":"ada","state":{}}'),
    ("name.5a.x616461", '{"id":"ada","version":1,"type":"ada","state":{}}'),
    (f"uuid.ab.{OTHER}", f'{{"id":"uuid-{OTHER}","version":1,"type":"ada","state":{{}}}}'),
    (f"candidate.ab.{OTHER}", ""),
    (f"candidate.ab.{OTHER}", "rubbish"),
]
"""Subjects and bodies that somebody else may have written, some of them events all the same."""
MIRRORED = USUAL + len(ODD)
ERASED = [40, 120, 121, 122, MIRRORED - 1]
"""Seqs that the ledger, but not the mirror, has lost."""
LAST = MIRRORED + len(ODD)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A ledger with usual and odd events, of which its mirror has seen the first `MIRRORED`."""
    configure("critical")
    with Node(Settings(data=tmp_path_factory.mktemp("node"), port=0, checkpoint_every_s=0)) as node:
        documents: list[dict[str, Any]] = [
            {
                "type": "tagged" if number >= PEOPLE else "sourced",
                "candidate": {"email": f"p{number % PEOPLE}@example.com"},
                "occurred_at": f"2026-03-01T09:{number // 60:02}:{number % 60:02}Z",
                "data": {"tag": f"t{number}"} if number >= PEOPLE else {},
            }
            for number in range(USUAL)
        ]
        node.recording.record([parse(document) for document in documents], facts=True)
        assert node.ledger.last_seq() == USUAL
        publish_odd(node)
        node.wait_for(MIRRORED, 60.0)
        node.projecting.stop()
        publish_odd(node)
        node.connection.call(erase_messages(node.connection, node.stream, ERASED))
        yield node


def publish_odd(node: Node) -> None:
    for subject, body in ODD:
        node.connection.call(publish_one(node.connection, f"ledger.{subject}", body.encode(), None, timeout_s=5.0))


ROW = "update pii.events set {} where seq = $seq"
DAMAGE = [
    ROW.format("body = 'x'::blob"),
    ROW.format("body = null"),
    ROW.format("body = body || ' '::blob"),
    ROW.format("hash = 'x'::blob"),
    ROW.format("hash = null"),
    ROW.format("body = body || ' '::blob, hash = unhex(sha256(body || ' '::blob))"),
    ROW.format("recorded_at = recorded_at + interval 1 microsecond"),
    ROW.format("version = version + 1"),
    ROW.format("version = null"),
    ROW.format("version = -1"),
    ROW.format("type = 'opted_out'"),
    ROW.format("type = null"),
    ROW.format('type = \'s","state":{"a":"b\''),
    ROW.format("kind = 'pool'"),
    ROW.format("kind = 'a\"b'"),
    ROW.format(f"id = '{OTHER}'::uuid"),
    ROW.format("odd_id = 'ada'"),
    ROW.format("seq = seq + 3"),
    "delete from pii.events where seq = $seq",
    "delete from pii.events where seq > $seq and seq < $seq + 12",
    "delete from pii.events where seq in (40, 120, 121, 122, 314) and $seq > 0",  # ERASED
    "insert into pii.events from pii.events where seq = $seq",
    "insert into ops.known_gaps select $seq, $seq + 2, 'a test', now()",
    "update ops.checkpoint set seq = $seq",
    "delete from pii.events where seq >= $seq; update ops.checkpoint set seq = $seq - 1",
]

Item = Finding | Progress | Summary


def verified(node: Node, signed: Checkpoint | None) -> list[Item]:
    items = verify(node.connection, node.stream, node.projector.connection, signed)
    return [replace(item, duration_s=0.0) if isinstance(item, Summary) else item for item in items]


def both_ways(node: Node, window: int, signed: Checkpoint | None) -> tuple[list[Item], list[Item], int]:
    """What is found with whole stretches compared, what is found event by event, and how many were alike as a whole."""
    whole = verification._Verification._agreed
    alike: list[bool] = []

    def agreed(*arguments: Any) -> dict[int, bytes] | None:
        found = whole(*arguments)
        alike.append(found is not None)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "WINDOW", window)
        patch.setattr(verification._Verification, "_agreed", agreed)
        fast = verified(node, signed)
        patch.setattr(verification._Verification, "_agreed", lambda *_: None)
        return fast, verified(node, signed), sum(alike)


@settings(max_examples=400 if SOAK else 12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    done=st.lists(st.tuples(st.sampled_from(DAMAGE), st.integers(1, MIRRORED)), max_size=5),
    window=st.integers(1, 90),
    signed=st.none() | st.builds(Checkpoint, st.just("rapport.test/log"), st.integers(1, LAST), st.just(bytes(32))),
)
def test_whole_stretches_compared_find_what_event_by_event_is_found(
    node: Node, done: list[tuple[str, int]], window: int, signed: Checkpoint | None
) -> None:
    """Whatever was done to the mirror's rows, gaps and checkpoint, with stretches of any length: the same findings,
    progress and summary, in the same order."""
    change = node.projector.connection.execute
    with node.projector.lock:
        change("begin")
        try:
            for sql, seq in done:
                for statement in sql.split("; "):
                    change(statement, {"seq": seq})
            fast, slow, _ = both_ways(node, window, signed)
        finally:
            change("rollback")
    assert fast == slow


def test_stretches_as_rapport_wrote_them_are_compared_as_a_whole(node: Node) -> None:
    """Else the law above would compare a thing with itself. What somebody else wrote, or was lost, is gone through."""
    with node.projector.lock:
        fast, slow, enough = both_ways(node, 10, None)
    assert fast == slow
    assert enough == USUAL // 10 - len({(seq - 1) // 10 for seq in ERASED if seq <= USUAL})
    assert [f.seq for f in fast if isinstance(f, Finding) and f.kind is verification.Kind.MISSING] == ERASED


@pytest.mark.parametrize("window", [1, 2, 3, 7, 40, 61])
def test_what_neither_holds_is_one_gap_wherever_stretches_end(node: Node, window: int) -> None:
    with node.projector.lock:
        node.projector.connection.execute("begin")
        try:
            node.projector.connection.execute("delete from pii.events where seq in $lost", {"lost": ERASED})
            fast, slow, _ = both_ways(node, window, None)
        finally:
            node.projector.connection.execute("rollback")
    assert fast == slow
    gaps = [(f.seq, f.last_seq) for f in fast if isinstance(f, Finding) and f.kind is verification.Kind.GAP]
    assert gaps == [(40, 40), (120, 122), (MIRRORED - 1, MIRRORED - 1)]


@pytest.mark.parametrize("damage", [sql for sql in DAMAGE if "$seq > 0" in sql])
def test_a_damage_made_to_measure_is_found_either_way(node: Node, damage: str) -> None:
    """Those that only one row can show, which chance would not hit often."""
    with node.projector.lock:
        node.projector.connection.execute("begin")
        try:
            node.projector.connection.execute(damage, {"seq": 1})
            fast, slow, _ = both_ways(node, 1, None)
        finally:
            node.projector.connection.execute("rollback")
    assert fast == slow


def test_a_stretch_too_large_to_be_held_twice_is_gone_through(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with node.projector.lock:
        _, slow, _ = both_ways(node, 10, None)
        monkeypatch.setattr(verification, "AT_ONCE_BYTES", 1)
        fast, _, enough = both_ways(node, 10, None)
    assert (fast, enough) == (slow, 0)
