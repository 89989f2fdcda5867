"""A node in numbers: what `rapport status` shows and `/metrics` tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from consumers.retrying import waiting_events
from infra.erasing import Unrecognised
from infra.jetstream import describe
from infra.jetstream.stream import get_message
from infra.subscriber import Progress, Subscriber
from projections import sql

if TYPE_CHECKING:
    from api.node import Node


class Lag(NamedTuple):
    """How far mirror and views are behind the ledger. `lag_s` is the age of the oldest event not in the views."""

    last_seq: int
    mirror_seq: int
    views_seq: int
    lag_events: int
    lag_s: float


class Letters(NamedTuple):
    """Events that cannot be used, and events that wait behind them."""

    dead: int
    waiting: int


def lag(node: Node, last_seq: int) -> Lag:
    """Of a ledger that ends at `last_seq`. Raises OperationalError."""
    views_seq = node.projector.checkpoint
    behind = max(0, last_seq - views_seq)
    return Lag(last_seq, node.projector.mirrored, views_seq, behind, _age_s(node, views_seq) if behind else 0.0)


def _age_s(node: Node, views_seq: int) -> float:
    query = {"seq": views_seq + 1, "next_by_subj": f"{node.stream.prefix}.>"}
    oldest = node.connection.call(get_message(node.connection, node.stream, **query))
    return max(0.0, round(time.time() - oldest.recorded_at.timestamp(), 3)) if oldest is not None else 0.0


def feed(node: Node, last_seq: int) -> dict[str, Any]:
    """How far the feed has come, of a ledger that ends at `last_seq`. `relays` says whether this node publishes."""
    relay = node.relay
    extent = node.feed.extent()
    return {
        "first": extent.first_seq,
        "last": extent.last_seq,
        "size_bytes": extent.size_bytes,
        "relayed_seq": relay.position,
        "lag_events": max(0, last_seq - relay.position),
        "relays": relay.is_active,
        "failure": relay.failure or node.announcing.failure,
    }


def subscribers(node: Node) -> list[dict[str, Any]]:
    """How far each subscriber of the feed has come. Raises OperationalError."""
    known, progress = node.subscribers.all(), node.subscribers.progress()
    return [_subscriber(found, progress.get(name)) for name, found in known.items()]


def _subscriber(found: Subscriber, progress: Progress | None) -> dict[str, Any]:
    webhook = found.webhook
    return {
        "name": found.name,
        "kind": "nats" if webhook is None else "webhook",
        "types": list(found.types),
        "created_at": found.created_at.isoformat(),
        "lag": None if progress is None else progress.lag,
        "acknowledged": None if progress is None else progress.acknowledged,
        "seen_at": None if progress is None else progress.seen_at,
        "paused": None if webhook is None else webhook.paused,
    }


def letters(cursor: duckdb.DuckDBPyConnection) -> Letters:
    """How many there are now."""
    dead: int = sql.value(cursor, "select count(*) from ops.dead_letters")
    return Letters(dead, waiting_events(cursor) if dead else 0)


def rows(node: Node, cursor: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many rows the mirror and each stored view has; from the tables' own counts, read by no scan."""
    tables = {"events": "pii.events"} | {view.name: view.table for view in node.projector.views if view.stored}
    return {name: len(cursor.table(table)) for name, table in tables.items()}


def builds(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The views as they are kept: name, version, definition, built_at, build_s."""
    cursor.execute(sql.load("projections.mirror", "queries/views.sql"))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def status(node: Node) -> dict[str, Any]:
    """What `rapport status` shows. Raises OperationalError, and soon, while NATS is away."""
    node.last_seq_soon()
    ledger = describe(node.connection, node.stream)
    failures = node.failures()
    reasons = failures + node.strains()
    at = node.building.at
    behind = lag(node, ledger.last_seq)
    return {
        "ready": not reasons,
        "reasons": reasons,
        "failing": bool(failures),
        "data": str(node.settings.data),
        "ledger": {**ledger._asdict(), "sync": node.durability.describe()},
        "views": {
            "checkpoint": behind.views_seq,
            "mirrored": behind.mirror_seq,
            "lag_events": behind.lag_events,
            "lag_s": behind.lag_s,
            "batch": node.batches.last(),
            "building": None if at is None else {"view": at[0], "done": at[1]},
            "refused": [{"view": error.view, "reason": str(error)} for error in node.projector.refused],
            **_in_file(node),
        },
        "feed": feed(node, behind.last_seq)
        | {"subscribers": subscribers(node), "not_delivering": node.delivering.failure},
        "ingest": node.intake.status(),
        "master_key_id": node.keyring.master_key_id,
        "keys_damaged": node.keyring.damaged,
        "unrecognised": unrecognised(node.suppressions.unrecognised()),
    }


def unrecognised(found: Unrecognised | None) -> dict[str, Any] | None:
    """What erasures do not keep away any more, as a document."""
    return None if found is None else {"identifiers": found.identifiers, "since": found.since.isoformat()}


def _in_file(node: Node) -> dict[str, Any]:
    """What only the file of the views can tell; nothing of it while a full disk has shut the file."""
    try:
        with node.projector.cursor() as cursor:
            found = letters(cursor)
            return {
                "dead_letters": found.dead,
                "waiting_events": found.waiting,
                "rows": rows(node, cursor),
                "views": builds(cursor),
            }
    except (duckdb.FatalException, duckdb.ConnectionException):
        return {"dead_letters": None, "waiting_events": None, "rows": {}, "views": []}
