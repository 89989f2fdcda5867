"""The made-up history as a real ledger: sealed with real keys, claimed, appended in order, in minutes.

The folder is one of a node: whatever opens a node's data opens this. An unfinished one is continued.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from domain import candidate, pool
from infra import codec
from infra.crypto.claims import Claims
from infra.crypto.keyring import PEPPER, Keyring
from infra.crypto.master import key_id_of, local_master_key
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.jetstream.batch import MOST, Message, publish_batch
from infra.jetstream.message import encode
from infra.jetstream.subjects import subject_of
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from tests.benchmarks import history
from tests.benchmarks.made_up import Row, email_of, event_of, id_of

PREFIX = "ledger"
PROCESSES = 2
AHEAD = 2 * PROCESSES + 2
KEYS_AT_ONCE = 20_000
ACK_TIMEOUT_S = 60.0
CHECKED = 200


class OtherHistory(Exception):
    """The folder holds something else than the history asked for."""


def fill(folder: Path, events: int) -> float | None:
    """Sees to it that the ledger in `folder` / data begins with the history of so many events.

    Events a second, keys and claims included; None when the ledger was there. Raises OtherHistory.
    """
    settings = Settings.embedded(folder / "data")
    _claim_folder(folder, events)
    with EmbeddedServer(settings.data / "nats") as server, Connection(server.url) as connection:
        stream = declare_stream(connection)
        keys = Bucket(connection, "keys")
        own = keys.get_many([PEPPER])
        needed = key_id_of(own[PEPPER]) if own else None
        keyring = Keyring(keys, local_master_key(None, settings.master_key_file, needed))
        held = LedgerReader(connection, stream).last_seq()
        if held >= events:
            return None
        started = time.perf_counter()
        secrets = _make_keys(keyring, Claims(Bucket(connection, "claims"), keyring.pepper), events)
        _append(connection, events, held, secrets)
        rate = (events - held) / (time.perf_counter() - started)
        _check(JetStreamApplicationRecorder(connection, stream), events)
    return rate


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def _claim_folder(folder: Path, events: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    note, mine = folder / "history.json", {"events": events, "fingerprint": history.fingerprint(events)}
    if note.exists():
        if json.loads(note.read_text("utf-8")) != mine:
            raise OtherHistory(f"{folder} holds a history of another size or version; name another folder or remove it")
    elif any(folder.iterdir()):
        raise OtherHistory(f"{folder} is not empty and holds no history of a benchmark; name another folder")
    note.write_text(json.dumps(mine), "utf-8")
    (folder / "data").mkdir(mode=0o700, exist_ok=True)


def _make_keys(keyring: Keyring, claims: Claims, events: int) -> dict[str, bytes]:
    """A key for everybody, and a claim on each candidate's address. Keys by aggregate."""
    made: dict[str, bytes] = {}
    people = range(history.candidates(events))
    names = [codec.aggregate_id(pool.KIND, id_of(pool.KIND, n)) for n in range(history.POOLS)]
    names += [codec.aggregate_id(candidate.KIND, id_of(candidate.KIND, n)) for n in people]
    for start in range(0, len(names), KEYS_AT_ONCE):
        made |= keyring.make(names[start : start + KEYS_AT_ONCE])
        wanted = people[start : start + KEYS_AT_ONCE]
        claims.claim({f"email:{email_of(n)}": id_of(candidate.KIND, n) for n in wanted})
        say(f"keys and claims: {min(start + KEYS_AT_ONCE, len(names)):,} of {len(names):,}")
    return made


def _append(connection: Connection, events: int, after: int, secrets: dict[str, bytes]) -> None:
    """All events behind position `after`, a thousand a batch, one batch after the other: order is part of history."""
    started = told = time.perf_counter()
    for last, messages in _sealed(events, after, secrets):
        stored = connection.call(publish_batch(connection, messages, ACK_TIMEOUT_S), ACK_TIMEOUT_S)
        if stored != last:
            raise OtherHistory(f"event {last:,} was stored as {stored:,}: somebody else writes to this ledger")
        if (now := time.perf_counter()) > told + 5 or last == events:
            told = now
            say(f"ledger: {last:,} of {events:,} events, {(last - after) / (now - started):,.0f} a second")


def _sealed(events: int, after: int, secrets: dict[str, bytes]) -> Iterator[tuple[int, list[Message]]]:
    """Batches as they are to be stored, with the position of the last event of each; made ahead by other processes."""
    todo = _batches(history.rows(events, after))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as workers:
        making: deque[tuple[int, Future[list[Message]]]] = deque()
        try:
            while True:
                for rows in islice(todo, AHEAD - len(making)):
                    keys = [secrets[_name(row)] for row in rows]
                    making.append((rows[-1].seq, workers.submit(seal, rows, keys)))
                if not making:
                    return
                last, batch = making.popleft()
                yield last, batch.result()
        finally:
            workers.shutdown(cancel_futures=True)


def _batches(pages: Iterable[list[Row]]) -> Iterator[list[Row]]:
    for page in pages:
        yield from (page[at : at + MOST] for at in range(0, len(page), MOST))


def seal(rows: list[Row], keys: list[bytes]) -> list[Message]:
    """The messages of these rows, each with what it expects to follow unless that stands in the same batch."""
    messages: list[Message] = []
    for row, key in zip(rows, keys, strict=True):
        name = _name(row)
        body = encode(codec.encode(name, row.version, event_of(row), key))
        messages.append((subject_of(PREFIX, name), body, None if row.previous_seq >= rows[0].seq else row.previous_seq))
    return messages


def _name(row: Row) -> str:
    return codec.aggregate_id(row.kind, id_of(row.kind, row.n))


def _check(recorder: JetStreamApplicationRecorder, events: int) -> None:
    """Reads some candidates back as commands do, which find any hole in their versions."""
    step = max(1, history.candidates(events) // CHECKED)
    ids = [id_of(candidate.KIND, n) for n in range(0, history.candidates(events), step)]
    histories = recorder.read_many([codec.aggregate_id(candidate.KIND, id_) for id_ in ids])
    if not any(histories):
        raise OtherHistory("the ledger made holds none of the candidates it was made of")
