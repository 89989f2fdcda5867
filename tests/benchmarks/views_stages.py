"""What is measured on the generated history, each stage in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from api.node import Node
from consumers.relay import Relay
from domain import candidate
from infra import logging
from infra.duckdb import open_database
from infra.feed import Feed
from infra.jetstream import Connection, LedgerReader, declare_stream
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from projections import Projector, queries, rebuild
from tests.benchmarks import history
from tests.benchmarks.figures import Figure, peak_mib, percentile
from tests.benchmarks.filling import say
from tests.benchmarks.made_up import id_of

ROUNDS = 40
LEAST_ROUNDS = 5
PATIENCE_S = 30.0
TOLD_EVERY = 50_000
DASHBOARDS = Path(__file__).with_name("queries")


class Wrong(Exception):
    """What was measured did not do its work."""


def catch_up(data: Path) -> list[Figure]:
    """A node started on the ledger, with its views from where they stand to the ledger's end."""
    logging.configure("error")
    with Node(Settings.embedded(data)) as node:
        began, started, last = node.projector.checkpoint, time.perf_counter(), node.ledger.last_seq()
        while not node.projector.wait_for(last, 5.0):
            if node.projecting.failure is not None:
                raise Wrong(f"the views stand still: {node.projecting.failure}")
            done, took = node.projector.mirrored, time.perf_counter() - started
            say(f"mirror: {done:,} of {last:,} events, {(done - began) / took:,.0f} a second")
        took = time.perf_counter() - started
        check(node, last)
        peak = peak_mib()
    rate = (last - began) / took if last > began else None
    note = "" if last > began else "the views were there; remove views.duckdb to measure it"
    return [
        Figure("catch-up from the ledger into mirror and views", rate, "events/s", 30_000, "at least", note),
        Figure("catch-up: peak memory of the node", peak, "MiB"),
    ]


def relay(data: Path) -> list[Figure]:
    """The feed brought to the end of the ledger, by itself, so that it disturbs nothing that is measured later."""
    logging.configure("error")
    settings = Settings.embedded(data)
    with EmbeddedServer(settings.data / "nats") as server, Connection(server.url) as connection:
        stream = declare_stream(connection)
        reader, feed = LedgerReader(connection, stream), Feed(connection, stream, settings.feed_url)
        began, last = feed.end().place.ledger, reader.last_seq()
        relaying, started, at = Relay(reader, feed, settings.feed_days), time.perf_counter(), began
        relaying.start()
        try:
            while at < last:
                time.sleep(0.05 if last - at < TOLD_EVERY else 5.0)
                if relaying.failure is not None:
                    raise Wrong(f"the feed stands still: {relaying.failure}")
                at = relaying.position
                took = time.perf_counter() - started
                say(f"feed: {at:,} of {last:,} events, {(at - began) / took:,.0f} a second")
            took = time.perf_counter() - started
        finally:
            relaying.stop()
    rate = (last - began) / took if last > began else None
    note = "" if last > began else "they were there"
    return [Figure("events of the ledger put on the feed", rate, "events/s", note=note)]


def check(node: Node, last: int) -> None:
    """Every ledger message is a row of the mirror, once, and usable. Raises Wrong."""
    with node.projector.cursor() as cursor:
        found = cursor.execute("select count(*), count(distinct seq), max(seq) from events").fetchone()
        broken = queries.dead_letters(cursor)
        checkpoint = queries.status(cursor)["checkpoint"]
    if found != (last, last, last) or checkpoint != last:
        raise Wrong(f"of {last:,} messages the mirror holds {found}, and its checkpoint is {checkpoint:,}")
    if broken:
        raise Wrong(f"{len(broken)} events cannot be used, the first because of {broken[0]}")


def rebuilds(data: Path) -> list[Figure]:
    """Each view computed anew, and all of them together."""
    figures: list[Figure] = []
    with open_database(Settings.embedded(data).database) as connection:
        projector = Projector(connection)
        for view in (view for view in projector.views if view.stored):
            own_s, whole_s = _rebuild(projector, view.name)
            note = (
                "" if whole_s < own_s * 1.2 else f"(with those that rest on it {projector.checkpoint / whole_s:,.0f})"
            )
            rate = projector.checkpoint / own_s
            figures.append(Figure(f"rebuild of {view.name}", rate, "events/s", 1_000_000, "at least", note))
        _, whole_s = _rebuild(projector, None)
        rate = projector.checkpoint / whole_s
        figures.append(Figure("rebuild of all views together", rate, "events/s", 400_000, "at least"))
    return [*figures, Figure("rebuild: peak memory of the process", peak_mib(), "MiB")]


def _rebuild(projector: Projector, name: str | None) -> tuple[float, float]:
    """Seconds spent on this view and what had to be prepared for it, and seconds until all was made and swapped in."""
    spent_s: dict[str | None, float] = {}
    at, since = name, time.perf_counter()

    def note(view: str | None, _done: float) -> None:
        nonlocal at, since
        now = time.perf_counter()
        spent_s[at] = spent_s.get(at, 0.0) + now - since
        at, since = view, now

    rebuild(projector, name, note)
    note(None, 1.0)
    whole_s = sum(spent_s.values())
    say(f"rebuild of {name or 'all'}: {whole_s:.1f} s")
    return spent_s[name] if name else whole_s, whole_s


def questions(data: Path) -> list[Figure]:
    """What people ask: members, ranking, explanation, dashboards; at random times, about random people and pools."""
    with open_database(Settings.embedded(data).database) as connection:
        projector = Projector(connection)
        with projector.cursor() as cursor:
            return [*_as_of(cursor), *_dashboards(cursor)]


def _as_of(cursor: duckdb.DuckDBPyConnection) -> Iterator[Figure]:
    dice = random.Random(5)
    (events,) = cursor.execute("select count(*) from events where kind = 'candidate'").fetchone() or (0,)
    people = _people(cursor, dice, round(events / history.EVENTS_PER_CANDIDATE))
    pools = [pool["pool_id"] for pool in queries.pools(cursor)]
    sizes = []

    def members() -> None:
        sizes.append(len(queries.members(cursor, dice.choice(pools), _moment(dice))))

    times_ms = _timed(members)
    yield from _pair("members of a pool as of T", times_ms, 100, f"(median {percentile(sizes, 0.5):,} members)")
    times_ms = _timed(lambda: queries.engagement_top(cursor, _moment(dice), limit=100))
    yield from _pair("engagement top 100 as of T", times_ms, 300)
    times_ms = _timed(lambda: queries.engagement_explain(cursor, dice.choice(people), _moment(dice)))
    yield from _pair("one candidate's explanation as of T", times_ms, 20)


def _people(cursor: duckdb.DuckDBPyConnection, dice: random.Random, among: int) -> list[str]:
    ids = (id_of(candidate.KIND, dice.randrange(among)) for _ in range(3 * ROUNDS))
    found = [canonical for id_ in ids if (canonical := queries.canonical(cursor, id_)) is not None]
    if len(found) < ROUNDS:
        raise Wrong("the views do not know the candidates of the history")
    return found


def _moment(dice: random.Random) -> datetime:
    return history.SINCE + timedelta(days=history.DAYS * dice.uniform(0.1, 1.0))


def _dashboards(cursor: duckdb.DuckDBPyConnection) -> Iterator[Figure]:
    """One query of each analytics view; the file is named as the view."""
    there = {row[0] for row in cursor.execute("select table_name from information_schema.tables").fetchall()}
    for file in sorted(DASHBOARDS.glob("*.sql")):
        name = f"dashboard: {file.stem}"
        if file.stem not in there:
            yield Figure(f"{name}, p95", None, "ms", 300, note="absent: there is no such view")
            continue
        text = file.read_text("utf-8")
        try:
            times_ms = _timed(lambda text=text: cursor.execute(text).fetchall())  # type: ignore[misc]
        except duckdb.Error as error:
            yield Figure(f"{name}, p95", None, "ms", 300, note=str(error).strip().partition("\n")[0])
        else:
            yield from _pair(name, times_ms, 300)


def _timed(ask: Callable[[], object]) -> list[float]:
    """Milliseconds of each of many rounds; fewer of what takes long. Nothing is asked before the clock runs."""
    times_ms: list[float] = []
    until = time.perf_counter() + PATIENCE_S
    while len(times_ms) < LEAST_ROUNDS or (len(times_ms) < ROUNDS and time.perf_counter() < until):
        started = time.perf_counter()
        ask()
        times_ms.append((time.perf_counter() - started) * 1_000)
    return times_ms


def _pair(name: str, times_ms: list[float], target_ms: float, note: str = "") -> Iterator[Figure]:
    yield Figure(f"{name}, median", percentile(times_ms, 0.5), "ms", note=note)
    rounds = "" if len(times_ms) == ROUNDS else f"({len(times_ms)} rounds)"
    yield Figure(f"{name}, p95", percentile(times_ms, 0.95), "ms", target_ms, note=rounds)


def sizes(data: Path) -> list[Figure]:
    """Bytes on disk by event, when nobody has the files open."""
    path = Settings.embedded(data).database
    with open_database(path) as connection:
        connection.execute("checkpoint")
        (events,) = connection.execute("select count(*) from events").fetchone() or (0,)
    ledger = sum(file.stat().st_size for file in (data / "nats").rglob("LEDGER/msgs/*"))
    return [
        Figure("ledger on disk", ledger / events, "bytes/event"),
        Figure("DuckDB file (mirror and views)", path.stat().st_size / events, "bytes/event"),
    ]
