"""What a data folder holds, in a form that two folders with different random ids can be compared by."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

from api.node import Node
from infra.jetstream import LedgerReader
from infra.logging import configure
from infra.settings import Settings
from projections.registry import VIEWS

LEAVE_OUT = {"seq", "recorded_at", "joined_seq", "left_seq", "because_seq", "changed_seq", "from_seq", "to_seq"}
LEAVE_OUT |= {"merged_seq", "hash", "body", "packed", "noticed_at", "correlation"}


class Contents:
    """The ledger by person and the views' rows, each id replaced by the identifiers of whom it stands for."""

    def __init__(self, data: Path) -> None:
        configure("error")
        with Node(Settings(data=data, port=0)) as node:
            node.wait_for(node.ledger.last_seq(), 60.0)
            self.last_seq = node.ledger.last_seq()
            reader = LedgerReader(node.connection, node.recorder.stream)
            subjects = dict.fromkeys(m.subject for batch in reader.read_batches() for m in batch)
            ids = [s.rpartition(".")[2] for s in subjects if ".candidate." in s]
            histories = node.ledger.histories(ids)
            names = {
                id_: " ".join(sorted(i for r in history for i in r.event.identifiers))
                for id_, history in histories.items()
            }
            assert all(names.values()), "a candidate without an identifier"
            assert len(set(names.values())) == len(names), "two candidates with the same identifiers"
            for history in histories.values():
                assert [r.version for r in history] == list(range(1, len(history) + 1)), "versions have gaps"
            self.ledger = {
                names[id_]: [
                    {"version": r.version, "type": r.event.type}
                    | _named(r.event.model_dump(mode="json", exclude_none=True, exclude={"correlation"}), names)
                    for r in history
                ]
                for id_, history in histories.items()
            }
            self.views = {}
            with node.projector.cursor() as cursor:
                for table in ["pii.events", "ops.dead_letters", *(v.table for v in VIEWS if v.stored)]:
                    self.views[table] = _rows(cursor, table, names)
                checkpoint = cursor.execute("select seq from ops.checkpoint").fetchall()
            assert checkpoint == [(self.last_seq,)]

    def same_as(self, other: Contents) -> None:
        """Fails with what differs first."""
        assert self.ledger.keys() == other.ledger.keys(), "other people"
        for name, history in other.ledger.items():
            assert self.ledger[name] == history, f"another history of {name}"
        assert self.last_seq == other.last_seq, "more or fewer events"
        for table, rows in other.views.items():
            more, fewer = self.views[table] - rows, rows - self.views[table]
            assert not more, f"{table} has {len(more)} rows too many, such as {next(iter(more))}"
            assert not fewer, f"{table} has {len(fewer)} rows too few, such as {next(iter(fewer))}"


def _rows(cursor: Any, table: str, names: dict[str, str]) -> Counter[str]:
    cursor.execute(f"select * from {table}")  # noqa: S608 - names of our own
    columns = [c[0] for c in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    kept = ({k: _named(v, names) for k, v in row.items() if k not in LEAVE_OUT} for row in rows)
    return Counter(json.dumps(row, sort_keys=True, default=str) for row in kept)


def _named(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, UUID):
        value = value.hex
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {k: _named(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        found = [_named(v, names) for v in value]
        return sorted(found, key=str) if any(n in names for n in map(_hex, value)) else found
    return value


def _hex(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else str(value)


def digest(contents: Contents) -> str:
    """One short text for all of it."""
    everything = [contents.ledger, {k: sorted(v.items()) for k, v in contents.views.items()}]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
