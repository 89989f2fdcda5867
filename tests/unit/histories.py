"""Histories of events, as the rows the projector takes."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from domain.event import Event, personal_fields
from projections import BATCH_SCHEMA

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Recorded:
    """An event as the ledger holds it."""

    seq: int
    kind: str
    id: str
    version: int
    event: Event
    problem: str | None = None
    key_destroyed: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """The row of a batch that the decoder would make of it."""
        fields = self.event.model_dump(mode="json", exclude_none=True, exclude={"occurred_at"})
        personal = {n: v for n, v in fields.items() if n in personal_fields(type(self.event))}
        public = {n: v for n, v in fields.items() if n not in personal}
        usable = self.problem is None
        return {
            "seq": self.seq,
            "recorded_at": EPOCH + timedelta(days=400, seconds=self.seq),
            "kind": self.kind,
            "id": self.id,
            "version": self.version,
            "type": self.event.type,
            "v": self.event.v,
            "occurred_at": self.event.occurred_at if usable else None,
            "public": json.dumps(public) if usable else None,
            "personal": json.dumps(personal) if usable and not self.key_destroyed else None,
            "body": f"{self.seq}:{self.event.type}".encode(),
            "problem": self.problem,
        }


def recorded(events: Iterable[tuple[str, Event]], after: int = 0) -> list[Recorded]:
    """The events, each with the id of its aggregate, as the ledger would number them."""
    versions: dict[str, int] = {}
    rows = []
    for seq, (aggregate, event) in enumerate(events, start=after + 1):
        versions[aggregate] = versions.get(aggregate, 0) + 1
        kind = "pool" if type(event).__module__ == "domain.pool" else "candidate"
        rows.append(Recorded(seq, kind, aggregate, versions[aggregate], event))
    return rows


def table(history: Sequence[Recorded]) -> pa.Table:
    """The batch of these events."""
    return pa.Table.from_pylist([r.row for r in history], schema=BATCH_SCHEMA)
