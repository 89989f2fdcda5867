"""How long it takes to load one candidate whose events lie scattered over a large ledger, when nothing is at hand.

python -m tests.benchmarks.loading [--events N]
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from domain.candidate import (
    Candidate,
    CandidateEvent,
    Clicked,
    Delivered,
    Emailed,
    Opened,
    OptedIn,
    OptedOut,
    Sourced,
    evolve,
)
from domain.event import utc_now
from domain.policy import ActorKind
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, declare_stream
from infra.jetstream.batch import publish_batch
from infra.jetstream.message import encode
from infra.jetstream.pipeline import pipelined
from infra.jetstream.subjects import subject_of
from infra.ledger import Append, Ledger
from infra.nats_server import EmbeddedServer
from infra.snapshots import Snapshots

LENGTH = 500
MEASURED = 200
OTHERS = 80_000
WHOLE = 20  # without a snapshot a load takes about a second
BODY_BYTES = 700
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
MASTER = LocalMasterKey(new_key())


def measure(events: int = 1_000_000) -> dict[str, float]:
    """Milliseconds by name, each candidate loaded once.

    The server is started anew before each measurement. `page_cache` is with the files in the system's cache, `disk`
    after that was dropped (left out where that is not allowed). Takes less than two minutes with the defaults.
    """
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="rapport-bench-") as folder, EmbeddedServer(Path(folder)) as server:
        states = _fill(server, events)
        few = states[:: len(states) // WHOLE]
        figures |= _percentiles("load_whole_page_cache", _load(server, few, snapshots=False))
        _make_snapshots(server, states)
        figures |= _percentiles("load_snapshot_page_cache", _load(server, states, snapshots=True))
        if _drop_page_cache():
            figures |= _percentiles("load_snapshot_disk", _load(server, states, snapshots=True))
        figures |= _percentiles("load_and_append_page_cache", _load(server, states, snapshots=True, append=True))
    return figures


def _fill(server: EmbeddedServer, events: int) -> list[Candidate]:
    """A ledger of other candidates' events, among them those measured: 500 events each, scattered over more and more
    of it, so that their last events lie anywhere in its second half. Returns the states of those."""
    dice = random.Random(11)
    others = [UUID(int=dice.getrandbits(128)).hex for _ in range(OTHERS)]
    ids = [UUID(int=dice.getrandbits(128)).hex for _ in range(min(MEASURED, events // 5_000))]
    slots: list[str | None] = [None] * events
    for n, id_ in enumerate(ids):
        end = events // 2 + (n + 1) * (events // 2) // len(ids)
        free = (slot for slot in dice.sample(range(end), 3 * LENGTH) if slots[slot] is None)
        for slot in islice(free, LENGTH):
            slots[slot] = id_
    filler = b'{"id":"candidate-%b","version":1,"type":"tagged","state":{"v":1,"sealed":"%b"}}'
    padding = b"x" * (BODY_BYTES - 120)
    with _opened(server) as (connection, keyring):
        recorder = JetStreamApplicationRecorder(connection, declare_stream(connection))
        keyring.make(codec.aggregate_id("candidate", id_) for id_ in (*others, *ids))
        keys = keyring.existing(codec.aggregate_id("candidate", id_) for id_ in ids)
        states = {id_: Candidate(id_) for id_ in ids}
        subjects = {id_: subject_of(recorder.stream.prefix, codec.aggregate_id("candidate", id_)) for id_ in others}
        subjects |= {id_: subject_of(recorder.stream.prefix, codec.aggregate_id("candidate", id_)) for id_ in ids}

        def message(id_: str | None, seq: int) -> tuple[str, bytes, None]:
            if id_ is None:
                id_ = dice.choice(others)
                return subjects[id_], filler % (id_.encode(), padding), None
            name, version = codec.aggregate_id("candidate", id_), states[id_].version + 1
            event = _event(version)
            states[id_] = evolve(states[id_], event, version, seq, utc_now())
            return subjects[id_], encode(codec.encode(name, version, event, keys[name])), None

        async def publish(start: int) -> int:
            batch = [message(id_, seq) for seq, id_ in enumerate(slots[start : start + 1_000], start + 1)]
            return await publish_batch(connection, batch, 60.0)

        async def publish_all() -> list[int]:
            # One at a time: the versions must stand in the order in which they were given.
            return await pipelined(range(0, events, 1_000), publish, 1)

        connection.call(publish_all(), 3_600.0)
    return list(states.values())


def _event(version: int) -> CandidateEvent:
    """What a long history consists of: mostly sent, delivered, opened."""
    common = {
        "occurred_at": EPOCH + timedelta(minutes=version),
        "actor_kind": ActorKind.SERVICE,
        "actor": "service:sendgrid",
        "source": "sendgrid",
        "interaction": f"sg:{random.Random(version).getrandbits(128):032x}",
    }
    if version == 1:
        return Sourced(**common, first_name="Ada", identifiers=(f"email:ada{version}@example.com",))
    if version % 50 == 0:
        return (OptedOut if version % 100 else OptedIn)(**common)
    kind = (Emailed, Delivered, Opened, Clicked)[version % 4]
    return kind(**common, campaign="spring", message="m" * 120)


@contextmanager
def _opened(server: EmbeddedServer) -> Iterator[tuple[Connection, Keyring]]:
    with Connection(server.url) as connection:
        yield connection, Keyring(Bucket(connection, "keys"), MASTER)


@contextmanager
def _ledger(server: EmbeddedServer, *, snapshots: bool) -> Iterator[tuple[Ledger, Snapshots | None]]:
    with _opened(server) as (connection, keyring):
        recorder = JetStreamApplicationRecorder(connection, declare_stream(connection))
        if not snapshots:
            yield Ledger(recorder, keyring), None
            return
        with closing(Snapshots(connection, recorder.stream, keyring)) as kept:
            yield Ledger(recorder, keyring, kept), kept


def _make_snapshots(server: EmbeddedServer, states: list[Candidate]) -> None:
    """As the node does that appended the events."""
    with _ledger(server, snapshots=True) as (_, kept):
        assert kept is not None
        for state in states:
            kept.offer(state, 0)
        if kept.flush() != len(states):
            raise RuntimeError("not every candidate got a snapshot")


def _load(server: EmbeddedServer, states: list[Candidate], *, snapshots: bool, append: bool = False) -> list[float]:
    """Milliseconds for each candidate's state, and one event behind it with `append`, on a server and a ledger that
    have just started."""
    server.stop()
    server.start()
    times_ms: list[float] = []
    with _ledger(server, snapshots=snapshots) as (ledger, _):
        for state in random.Random(3).sample(states, len(states)):
            started = time.perf_counter()
            loaded = ledger.candidates([state.id])[state.id]
            if append:
                name = codec.aggregate_id("candidate", state.id)
                ledger.append([Append(name, loaded.version, [_event(loaded.version + 1)])])
            times_ms.append((time.perf_counter() - started) * 1_000)
            if loaded != state or state.version != LENGTH:
                raise RuntimeError(f"the state loaded is not the one of all {LENGTH} events")
    return times_ms


def _drop_page_cache() -> bool:
    """Whether the system forgot what it had read from disk; only root may ask for that."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _percentiles(name: str, times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    return {f"{name}_p50_ms": ordered[len(ordered) // 2], f"{name}_p99_ms": ordered[len(ordered) * 99 // 100]}


def main() -> None:
    """Measures and prints a Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    events = arguments.parse_args().events
    started = time.perf_counter()
    figures = measure(events)
    print(f"A candidate of {LENGTH} events among {events:,}, loaded once, server just started\n")
    print("| | p50 ms | p99 ms |\n|---|---|---|")
    for name in dict.fromkeys(name.removesuffix("_ms").rpartition("_")[0] for name in figures):
        print(f"| {name} | {figures[f'{name}_p50_ms']:,.1f} | {figures[f'{name}_p99_ms']:,.1f} |")
    print(f"\n{time.perf_counter() - started:,.0f} s")


if __name__ == "__main__":
    main()
