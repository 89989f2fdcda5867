"""From append to visible: one process appends at a steady pace, a node keeps its views and notes when they show it."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from api.node import Node
from domain import candidate
from domain.event import utc_now
from infra import codec, logging
from infra.crypto.keyring import Keyring
from infra.crypto.master import local_master_key
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, declare_stream
from infra.ledger import Append, Ledger
from infra.settings import Settings
from projections import Projector
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.made_up import Row, event_of, id_of
from tests.benchmarks.views_stages import Wrong, check

TICK_S = 0.02
KNOWN = 1_500
NEW = 0.02
WARMING_UP_S = 5.0
SETTLE_S = 60.0
FEED_S, STILL_S = 900.0, 10.0
TYPES = ("emailed", "delivered", "delivered", "opened", "opened", "opened", "clicked", "replied", "tagged", "opted_out")


class Sent(NamedTuple):
    """Where the ledger took an event, and the moment just before it was given to the ledger (`time.monotonic_ns`)."""

    seq: int
    at_ns: int


class Pace(NamedTuple):
    """What the appending process did, and by how much it fell behind its schedule at worst."""

    sent: list[Sent]
    latest_s: float


def live(data: Path, candidates: int, per_s: int, seconds: float) -> list[Figure]:
    """Appends at `per_s` from another process for so long, after a time of warming up that does not count."""
    logging.configure("error")
    with Node(Settings.embedded(data)) as node:
        if not node.projector.wait_for(node.ledger.last_seq(), SETTLE_S) or node.server is None:
            raise Wrong("the views do not reach the end of the ledger")
        _quiet(node)
        seen, stopping = list[Sent](), threading.Event()
        watching = threading.Thread(target=_watch, args=(node.projector, seen, stopping))
        watching.start()
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
                arguments = (node.server.url, data, candidates, per_s, seconds + WARMING_UP_S)
                pace = other.submit(append_steadily, *arguments).result()
            behind = pace.sent[-1].seq - _shown_at(seen, pace.sent[-1].at_ns)
            last = node.ledger.last_seq()
            if not node.projector.wait_for(last, SETTLE_S):
                raise Wrong(f"the views stand at {node.projector.checkpoint:,} of {last:,} after {SETTLE_S:g} s")
        finally:
            stopping.set()
            watching.join()
        check(node, last)
    begin_ns = pace.sent[0].at_ns + round(WARMING_UP_S * 1e9)
    counted = [sent for sent in pace.sent if sent.at_ns >= begin_ns]
    return _figures(counted, seen, pace.latest_s, behind, per_s)


def _quiet(node: Node) -> None:
    """Returns once nothing more is put on the feed, neither events nor what is derived from the views."""
    last, since, until = node.relay.end, time.monotonic(), time.monotonic() + FEED_S
    while time.monotonic() < since + STILL_S:
        if node.relay.end != last:
            last, since = node.relay.end, time.monotonic()
        if since > until:
            raise Wrong("the feed does not come to an end")
        time.sleep(0.1)


def _figures(sent: Sequence[Sent], seen: Sequence[Sent], latest_s: float, behind: int, per_s: int) -> list[Figure]:
    checkpoints = [s.seq for s in seen]
    times_ms = [(seen[bisect_left(checkpoints, s.seq)].at_ns - s.at_ns) / 1e6 for s in sent]
    rate = (len(sent) - 1) / ((sent[-1].at_ns - sent[0].at_ns) / 1e9)
    pace = f"({len(sent):,} events; at most {latest_s * 1_000:,.0f} ms behind its schedule)"
    return [
        Figure("appended from another process", rate, "events/s", per_s * 0.98, "at least", pace),
        Figure("append → visible in every view, p50", percentile(times_ms, 0.5), "ms", 120),
        Figure("append → visible in every view, p99", percentile(times_ms, 0.99), "ms", 400),
        Figure("append → visible in every view, longest", max(times_ms), "ms"),
        Figure("not yet visible when the last one was sent", behind, "events"),
    ]


def _watch(projector: Projector, seen: list[Sent], stopping: threading.Event) -> None:
    """Notes each position that the views reach, and when a thread that waited for it found it reached."""
    at = projector.checkpoint
    while not stopping.is_set():
        if projector.wait_for(at + 1, 0.2):
            at = projector.checkpoint
            seen.append(Sent(at, time.monotonic_ns()))


def _shown_at(seen: Sequence[Sent], at_ns: int) -> int:
    """The position that the views had reached at that time."""
    return max((s.seq for s in seen if s.at_ns <= at_ns), default=0)


def append_steadily(url: str, data: Path, candidates: int, per_s: int, seconds: float) -> Pace:
    """Appends events of random candidates, some of them new, whatever happens to them then: the pace does not wait.

    A group is one call of the node's own write path, as for a webhook that brings several; each of its events is of
    another candidate.
    """
    dice, settings = random.Random(time.time_ns()), Settings.embedded(data)
    with Connection(url) as connection:
        stream = declare_stream(connection)
        keyring = Keyring(Bucket(connection, "keys"), local_master_key(None, settings.master_key_file))
        ledger = Ledger(JetStreamApplicationRecorder(connection, stream), keyring)
        known = dice.sample(range(candidates), min(KNOWN, candidates))
        ids = {n: id_of(candidate.KIND, n) for n in known}
        states = ledger.candidates(ids.values())
        versions = {n: states[id_].version for n, id_ in ids.items()}
        keyring.make(codec.aggregate_id(candidate.KIND, id_) for id_ in ids.values())
        sent, latest_s, group = list[Sent](), 0.0, round(per_s * TICK_S)
        start = time.monotonic()
        for tick in range(round(seconds / TICK_S)):
            early_s = start + tick * TICK_S - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            latest_s = max(latest_s, -early_s)
            chosen = dice.sample(known, group)
            if dice.random() < NEW * group:
                chosen[0] = dice.getrandbits(60)
            appends = [_append(n, versions.get(n, 0), dice) for n in chosen]
            at_ns = time.monotonic_ns()
            for n, outcome in zip(chosen, ledger.append(appends), strict=True):
                if isinstance(outcome, Exception):
                    raise outcome
                sent += [Sent(seq, at_ns) for seq in outcome]
                versions[n] = versions.get(n, 0) + 1
    return Pace(sorted(sent, key=lambda s: s.seq), latest_s)


def _append(n: int, version: int, dice: random.Random) -> Append:
    """One more event of the `n`-th candidate, who is sourced first."""
    type_ = dice.choice(TYPES) if version else "sourced"
    machine = dice.choice((True, False, None)) if type_ == "opened" else None
    unique = dice.getrandbits(60)
    row = Row(unique, candidate.KIND, n, type_, utc_now(), unique % 10, "live", machine, None, version + 1, 0)
    return Append(codec.aggregate_id(candidate.KIND, id_of(candidate.KIND, n)), version, [event_of(row)])
