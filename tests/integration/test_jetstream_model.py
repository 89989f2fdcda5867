"""The ledger's recorder against a plain list: any sequence of appends, races, imports, erasures, reads and
subscriptions, over lost answers, broken connections and a server that dies and comes back.

The recorder under test reaches the server through a proxy. Another one, on a connection of its own, writes too, so
that whatever the first remembers may be outdated; a third, made anew each time, says what the ledger holds.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import hypothesis
from eventsourcing.persistence import IntegrityError, Notification, OperationalError, StoredEvent
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from infra.jetstream import Broken, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.nats_server import EmbeddedServer
from tests.ledger_model import AWAIT_S, Group, Listener, Model, stored
from tests.proxy import Proxy, is_ack, is_refusal, nth, once
from tests.servers import fresh_name

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
FENCE = "candidate-" + "f" * 32
IDS: tuple[UUID | str, ...] = (*(f"candidate-{n:032x}" for n in range(4)), UUID(int=7), "José's *.> list")
CROWD: tuple[UUID | str, ...] = (*IDS, *(f"pool-{n:032x}" for n in range(14)))
TOPICS = ("sourced", "tagged", "fence")
ACK_TIMEOUT_S = 0.8

ids = st.sampled_from(IDS)
slips = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
places = st.none() | st.integers(0, 60)
limits = st.integers(0, 12) | st.just(1_000)
topics = st.sampled_from([(), (), ("tagged",), ("sourced", "fence"), ("nothing",)])
writers = st.sampled_from(["tested", "tested", "other"])


class Home:
    """A server that may die and come back on its port, with its store."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(folder)
        self.server.start()

    def kill(self) -> None:
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.server.wait()

    def restart(self) -> None:
        """Stops the server, if it was not killed, and starts it again."""
        port, folder = self.server.port, self.server.data_dir
        self.server.stop()
        self.server = EmbeddedServer(folder, port=port)
        self.server.start()


class LedgerMachine(RuleBasedStateMachine):
    """One ledger, from empty. Every state stored is another one, as sealed events are."""

    home: ClassVar[Home]
    restarts: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.listeners: list[Listener] = []
        self.lately: list[Notification] = []
        """What the other recorder erased since the tested one last read a page."""
        self.made = 0
        self.troubled = False  # whether the tested connection was ever disturbed
        self.down = False  # whether the server is being restarted
        self.left = self.restarts
        url = self.home.server.url
        self.proxy = Proxy(self.home.server.port)
        self.direct = Connection(url, request_timeout_s=20.0)
        self.stream = declare_stream(self.direct, fresh_name("MODEL"))
        port, proxied = str(self.home.server.port), str(self.proxy.port)
        self.connection = Connection(url.replace(port, proxied), request_timeout_s=20.0)
        self.tested = JetStreamApplicationRecorder(self.connection, self.stream, ack_timeout_s=ACK_TIMEOUT_S)
        self.other = JetStreamApplicationRecorder(self.direct, self.stream)

    def teardown(self) -> None:
        try:
            self.proxy.calm()
            self.listeners_have_everything()
            self.a_fresh_recorder_reads_the_model()
        finally:
            for listener in self.listeners:
                listener.stop()
            self.connection.close()
            self.proxy.close()
            self.direct.close()

    # ── what is done to the connection and the server ──────────────────────────────────────────────

    @rule(
        which=st.sampled_from(["lost", "lost", "lost and cut", "unheard", "last", "late", "slow", "calm"]),
        n=st.integers(1, 9),
    )
    def weather(self, which: str, n: int) -> None:
        """What will happen to the frames to come; in force until it happened."""
        proxy = self.proxy
        proxy.calm()
        match which:
            case "lost":
                proxy.swallow = once(lambda f: is_ack(f) or is_refusal(f))
            case "lost and cut":
                proxy.swallow = self._then_cut(once(lambda f: is_ack(f) or is_refusal(f)))
            case "unheard":
                proxy.unheard = nth(n % 3 + 1, lambda f: f.startswith((b"PUB ", b"HPUB ")))
            case "last":
                proxy.last_answer = nth(n, lambda f: f.startswith((b"MSG ", b"HMSG ")))
            case "late":
                proxy.late, proxy.late_s = once(is_ack), 1.2 * ACK_TIMEOUT_S
            case "slow":
                proxy.delay_s = 0.001 * n
        self.troubled = self.troubled or which not in ("slow", "calm")

    def _then_cut(self, test: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        def check(frame: bytes) -> bool:
            if not test(frame):
                return False
            threading.Thread(target=self.proxy.hang_up).start()
            return True

        return check

    @rule()
    def cut(self) -> None:
        self.proxy.hang_up()
        self.troubled = True

    @precondition(lambda self: self.left > 0)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.left -= 1
        self.troubled = True
        if kill:
            self.home.kill()
        self.home.restart()

    @precondition(lambda self: self.left > 0)
    @rule(originator_ids=st.lists(ids, min_size=1, max_size=6), kill=st.booleans())
    def restart_under_writers(self, originator_ids: list[UUID | str], kill: bool) -> None:
        self.left -= 1
        self.troubled = self.down = True
        groups = [self._group([i]) for i in originator_ids]
        with self._racing(groups, ["tested"]) as outcomes:
            if kill:
                self.home.kill()
            self.home.restart()
        self._settle(groups, outcomes)
        self.down = False

    # ── writing ────────────────────────────────────────────────────────────────────────────────────

    @rule(shape=st.lists(ids, min_size=1, max_size=5), slip=slips, writer=writers)
    def append(self, shape: list[UUID | str], slip: int, writer: str) -> None:
        """One event, several of one aggregate, several aggregates; sometimes from an outdated or imagined version."""
        group = self._group(shape, slip)
        self._settle([group], [_outcome(lambda: self._writer(writer).insert_events(group))], sequential=True)

    @rule(
        race=st.lists(ids, min_size=2, max_size=8), size=st.integers(1, 2), by=st.lists(writers, min_size=1, max_size=3)
    )
    def append_at_once(self, race: list[UUID | str], size: int, by: list[str]) -> None:
        """Threads that all saw the same ledger. Of those at one aggregate one wins; others are in nobody's way."""
        groups = [self._group([i] * size) for i in race]
        with self._racing(groups, by) as outcomes:
            pass
        self._settle(groups, outcomes)

    @rule(
        late=st.lists(st.sampled_from(CROWD), max_size=2), twice=st.lists(st.sampled_from(CROWD), max_size=2),
        readers=st.integers(0, 2),
    )  # fmt: skip
    def append_in_a_crowd(self, late: list[UUID | str], twice: list[UUID | str], readers: int) -> None:
        """So many at once that they are stored together, some outdated, some rivals, while others read."""
        slips = {i: -1 for i in late if self.model.next_version(i) > 1}
        groups = [self._group([i], slips.get(i, 0)) for i in (*CROWD, *twice)]
        before = len(self.model.log)
        with self._racing(groups, ["tested"]) as outcomes:
            found = [self.tested.select_notifications(None, 1_000_000) for _ in range(readers)]
        self._settle(groups, outcomes)
        for log in found:
            assert len(log) >= before
            assert list(log) == self.model.log[: len(log)], "what is read is what stands there, from the start"

    @rule(
        shapes=st.lists(st.tuples(st.lists(ids, min_size=1, max_size=3), slips), min_size=1, max_size=20),
        writer=writers,
    )
    def import_many(self, shapes: list[tuple[list[UUID | str], int]], writer: str) -> None:
        """Groups in their order, each on top of those before it that fit; one in conflict fails alone."""
        groups: list[Group] = []
        fitting: list[StoredEvent] = []
        for shape, slip in shapes:
            groups.append(self._group(shape, slip, fitting))
            if self.model.takes(groups[-1], fitting):
                fitting += groups[-1]
        try:
            outcomes: Sequence[Any] = self._writer(writer).insert_many(groups)
        except OperationalError as error:
            outcomes = [error] * len(groups)
        self._settle(groups, outcomes, sequential=True)

    @rule(originator_id=ids, writer=writers)
    def erase(self, originator_id: UUID | str, writer: str) -> None:
        gone = self.model.erase(originator_id)
        for listener in self.listeners:
            listener.erased += gone
        self.lately += gone if writer == "other" else []
        for _ in range(5):
            try:
                count = self._writer(writer).erase_events(originator_id)
            except OperationalError:
                assert self.troubled, "without a fault it is done at once"
                self.connection.call(self.connection.wait_connected(AWAIT_S))
            else:
                assert count == len(gone) or self.troubled
                return
        raise AssertionError("erasing again ends in everything erased")

    # ── reading ────────────────────────────────────────────────────────────────────────────────────

    @rule(
        originator_id=ids, gt=st.none() | st.integers(-1, 9), lte=st.none() | st.integers(0, 9), desc=st.booleans(),
        limit=st.none() | st.integers(0, 4),
    )  # fmt: skip
    def select_events(
        self, originator_id: UUID | str, gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> None:
        expected = [
            e
            for e in self.model.history(originator_id)
            if (gt is None or e.originator_version > gt) and (lte is None or e.originator_version <= lte)
        ]
        if desc:
            expected.reverse()
        found = self.tested.select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        assert list(found) == expected[:limit]

    @rule(originator_ids=st.lists(ids, max_size=6))
    def read_many(self, originator_ids: list[UUID | str]) -> None:
        found = self.tested.read_many(originator_ids)
        assert [[(m.seq, e) for m, e in history] for history in found if not isinstance(history, Broken)] == [
            [(n.id, stored(n)) for n in self.model.log if n.originator_id == i] for i in originator_ids
        ]

    @rule(
        back=st.none() | st.integers(-3, 25), limit=limits, stop=st.none() | places, wanted=topics,
        inclusive=st.booleans(),
        between=st.lists(st.tuples(st.sampled_from(["append", "erase", "nothing"]), ids, writers), max_size=6),
    )  # fmt: skip
    def select_notifications(
        self, back: int | None, limit: int, stop: int | None, wanted: tuple[str, ...], inclusive: bool,
        between: list[tuple[str, UUID | str, str]],
    ) -> None:  # fmt: skip
        """Page after page, as a follower reads, while events are appended and erased. A page that was asked for ahead
        may hold what another process erased just now, never what this one did."""
        start = None if back is None else max(0, self.model.last_seq - back)
        for what, originator_id, writer in [("nothing", "", ""), *between]:
            if what == "append":
                self.append([originator_id], 0, writer)
            elif what == "erase":
                self.erase(originator_id, writer)
            found = self.tested.select_notifications(start, limit, stop, wanted, inclusive_of_start=inclusive)
            still = [n for n in found if n not in self.lately]
            expected = self.model.page(start, 1_000_000, stop, wanted, inclusive)
            assert still == expected[: len(still)]
            assert len(found) == limit or len(still) == len(expected)
            assert len(found) <= limit
            self.lately = []
            if found:
                start, inclusive = found[-1].id, False

    @rule()
    def max_notification_id(self) -> None:
        assert self.tested.max_notification_id() == (self.model.last_seq or None)

    @precondition(lambda self: len(self.listeners) < 3)
    @rule(gt=places, wanted=topics)
    def subscribe(self, gt: int | None, wanted: tuple[str, ...]) -> None:
        self.listeners.append(Listener(self.tested, gt, wanted))

    @precondition(lambda self: bool(self.listeners))
    @rule()
    def listeners_have_everything(self) -> None:
        """Each event behind where they began, once, in order, whatever happened meanwhile."""
        if not self.listeners:
            return
        self._fence()
        for listener in self.listeners:
            caught_up = (listener.gt or 0) >= self.model.last_seq or listener.caught_up(self.model.last_seq)
            assert listener.failure is None
            assert caught_up, f"the subscription stands at {listener.seen[-1:]}"
            seen = list(listener.seen)
            assert [n.id for n in seen] == sorted({n.id for n in seen})
            erased = set(listener.erased)
            expected = self.model.page(listener.gt, 1_000_000, None, listener.wanted, inclusive=False)
            assert [n for n in seen if n not in erased] == expected
            assert all(n.id > (listener.gt or 0) for n in seen)

    # ── what always holds ──────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        fresh = JetStreamApplicationRecorder(self.direct, self.stream)
        assert list(fresh.select_notifications(None, 1_000_000)) == self.model.log
        for originator_id in CROWD:
            versions = [e.originator_version for e in self.model.history(originator_id)]
            assert versions == list(range(versions[0], versions[-1] + 1)) if versions else True

    def a_fresh_recorder_reads_the_model(self) -> None:
        with Connection(self.home.server.url) as connection:
            fresh = JetStreamApplicationRecorder(connection, self.stream)
            for originator_id in CROWD:
                assert list(fresh.select_events(originator_id)) == self.model.history(originator_id)
            read = LedgerReader(connection, self.stream).read_batches(0)
            assert [fresh.notification(m.seq, m.subject, m.body) for b in read for m in b] == self.model.log
            assert fresh.max_notification_id() == (self.model.last_seq or None)

    # ── how ────────────────────────────────────────────────────────────────────────────────────────

    def _writer(self, name: str) -> JetStreamApplicationRecorder:
        return self.tested if name == "tested" else self.other

    def _group(
        self, shape: Sequence[UUID | str], slip: int = 0, before: Sequence[StoredEvent] = ()
    ) -> list[StoredEvent]:
        """Events of these aggregates, each on top of `before` and of those before it; the first one's are moved."""
        ahead = {e.originator_id: e.originator_version + 1 for e in before}
        events = []
        for originator_id in shape:
            version = ahead.get(originator_id) or self.model.next_version(originator_id)
            ahead[originator_id] = version + 1
            shown = max(0, version + slip) if originator_id == shape[0] else version
            events.append(self._event(originator_id, shown))
        return events

    def _event(self, originator_id: UUID | str, version: int, topic: str | None = None) -> StoredEvent:
        self.made += 1
        form = (b'{"n":%d}', b'{"state":{"n":%d},"pad":"' + b"x" * 3_000 + b'"}', b"\xff\x00%d")[self.made % 3]
        return StoredEvent(originator_id, version, topic or TOPICS[self.made % 2], form % self.made)

    @contextmanager
    def _racing(self, groups: Sequence[Group], by: Sequence[str]) -> Iterator[list[Any]]:
        """Each group appended by a thread of its own, all at once; the outcomes are there at the end of the block."""
        outcomes: list[Any] = [None] * len(groups)
        ready = threading.Barrier(len(groups) + 1)

        def run(number: int) -> None:
            writer = self._writer(by[number % len(by)])
            ready.wait()
            outcomes[number] = _outcome(lambda: writer.insert_events(groups[number]))

        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(groups))]
        for thread in threads:
            thread.start()
        ready.wait()
        yield outcomes
        for thread in threads:
            thread.join()

    def _settle(self, groups: Sequence[Group], outcomes: Sequence[Any], *, sequential: bool = False) -> None:
        """Checks the outcomes against what the ledger took, and the model has it too."""
        after = self.model.last_seq
        if unknown := [o for o in outcomes if isinstance(o, OperationalError)]:
            assert self.down, f"nothing but a server that is away leaves an append open: {unknown[0]}"
            self._fence(settled=False)
        held = {n.id: stored(n) for n in self._read_after(after)}
        before = Model()
        before.log, before.last_seq = list(self.model.log), self.model.last_seq
        for group, outcome in zip(groups, outcomes, strict=True):
            if isinstance(outcome, OperationalError | IntegrityError):
                continue
            assert [held.get(seq) for seq in outcome] == list(group), (_names(group), outcome)
        counted = Counter(repr(e) for e in held.values())
        assert max(counted.values(), default=1) == 1, "nothing is stored twice"
        for group, outcome in zip(groups, outcomes, strict=True):
            there = sum(counted[repr(e)] for e in group)
            if isinstance(outcome, IntegrityError):
                assert there == 0, "what is refused is not stored"
            assert there in (0, len(group)), "all or nothing"
        for seq, event in sorted(held.items()):
            assert self.model.takes([event]), "versions are gapless"
            self.model.add(seq, event)
        assert set(counted) <= {repr(e) for group in groups for e in group} | {repr(e) for e in self._fences}
        if unknown:
            return
        if sequential:
            taken: list[StoredEvent] = []
            for group, outcome in zip(groups, outcomes, strict=True):
                fits = before.takes(group, taken)
                assert isinstance(outcome, IntegrityError) is not fits, (_names(group), outcome)
                taken += group if fits else []
        else:
            winners = Counter(g[0].originator_id for g, o in zip(groups, outcomes, strict=True) if isinstance(o, list))
            assert winners == dict.fromkeys((g[0].originator_id for g in groups if before.takes(g)), 1)

    _fences: tuple[StoredEvent, ...] = ()

    def _fence(self, *, settled: bool = True) -> None:
        """An event of the other recorder. What was on its way to the stream before it is there, or never will be."""
        event = self._event(FENCE, self.model.next_version(FENCE), "fence")
        self._fences = (*self._fences, event)
        seqs = self.other.insert_events([event])
        if settled:
            assert seqs == [self.model.last_seq + 1]
            self.model.add(seqs[0], event)

    def _read_after(self, seq: int) -> Sequence[Notification]:
        fresh = JetStreamApplicationRecorder(self.direct, self.stream)
        return fresh.select_notifications(seq, 1_000_000, inclusive_of_start=False)


def _names(events: Sequence[StoredEvent]) -> list[str]:
    return [f"{e.originator_id} {e.originator_version}" for e in events]


def _outcome(append: Callable[[], Sequence[int] | None]) -> Any:
    try:
        return list(append() or ())
    except (IntegrityError, OperationalError) as error:
        return error


def test_the_recorder_does_what_a_list_would_do(tmp_path: Path) -> None:
    """Every operation, in any order, under faults, leaves and shows what the model has. RAPPORT_SEED repeats a run."""
    seed = int(os.environ.get("RAPPORT_SEED") or secrets.randbits(32))
    print(f"RAPPORT_SEED={seed}")
    home = Home(tmp_path / "nats")
    machine = hypothesis.seed(seed)(type("TheLedger", (LedgerMachine,), {"home": home, "restarts": 3 if SOAK else 1}))
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=100 if SOAK else 8,
                stateful_step_count=100 if SOAK else 40,
                deadline=None,
                database=None,  # what races does not fail the same way twice
                phases=(Phase.generate, Phase.shrink) if SOAK else (Phase.generate,),
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        home.server.stop()
