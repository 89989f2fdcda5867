"""What the views hold of somebody who was erased: nothing, however they came to it."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.event import Event
from projections import BATCH_SCHEMA, rebuild
from projections.view import PERSONAL_COLUMNS
from tests.unit.histories import (
    CANDIDATES,
    EPOCH,
    TABLES,
    Recorded,
    anything,
    contents,
    cuts,
    examples,
    fresh,
    histories,
    table,
)

ERASURE = "e" * 32


@st.composite
def erased_histories(draw: st.DrawFn, *kinds: st.SearchStrategy[Event]) -> tuple[list[Recorded], set[str]]:
    """A ledger in which some of the candidates end with `erased`, at any place in it; and which."""
    history = draw(histories(*kinds, pools=True))
    gone: set[str] = draw(st.sets(st.sampled_from(CANDIDATES), min_size=1))
    ends = {id_: draw(st.integers(0, len(history))) for id_ in gone}
    found: list[Recorded] = []
    for place, recorded in enumerate([*history, None]):
        for id_ in sorted(id_ for id_ in gone if ends[id_] == place):
            version = 1 + sum(r.id == id_ for r in found)
            event = c.Erased(occurred_at=EPOCH, actor="user:dpo", erasure=ERASURE, ground="objection")
            found.append(Recorded(len(found) + 1, "candidate", id_, version, event))
        if recorded is not None and not (recorded.id in gone and place >= ends[recorded.id]):
            found.append(replace(recorded, seq=len(found) + 1))
    return found, gone


@examples(6)
@given(st.data())
def test_erasing_and_rebuilding_commute(database: DuckDBPyConnection, data: st.DataObject) -> None:
    """Erased in place, built anew afterwards, or filled from a ledger whose keys are destroyed: the same rows."""
    history, gone = data.draw(erased_histories(*anything))
    projector = fresh(database)
    for start, end in data.draw(cuts(len(history))):
        projector.apply(table(history[start:end]))
    in_place, mirrored = contents(database), mirror(database)
    rebuild(projector)
    assert contents(database) == in_place
    closed = [replace(r, key_destroyed=r.id in gone) for r in history]
    projector = fresh(database)
    for start, end in data.draw(cuts(len(closed))):
        projector.fill(table(closed[start:end]))
    projector.settle()
    assert contents(database) == in_place
    assert mirror(database) == mirrored


@examples(15)
@given(st.data())
def test_no_view_holds_anything_of_the_erased_nor_does_the_mirror_beyond_the_envelope(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """Merges apart, for all records of a person are erased together."""
    history, gone = data.draw(erased_histories(*anything[:-1]))
    projector = fresh(database)
    for start, end in data.draw(cuts(len(history))):
        projector.apply(table(history[start:end]))
    for name in TABLES:
        rows = database.execute(f"select * from {name}").fetchall()  # noqa: S608 - a test's own names
        assert not any(id_ in str(value).replace("-", "") for id_ in gone for row in rows for value in row)
    columns = ", ".join(sorted(PERSONAL_COLUMNS))
    left = database.execute(
        f"select {columns} from pii.events where id in (select unnest(?::uuid[]))",  # noqa: S608 - our own columns
        [list(gone)],
    ).fetchall()
    assert left
    assert not any(value is not None for row in left for value in row)


@examples(8)
@given(st.data())
def test_purging_and_filling_anew_commute(database: DuckDBPyConnection, data: st.DataObject) -> None:
    """Bodies purged in place, and a file filled from a ledger that has them no more: the same rows, and the same views
    as without the purge."""
    history, gone = data.draw(erased_histories(*anything))
    naming = [named(history, id_, len(history) + place) for place, id_ in enumerate(sorted(gone), 1)]
    projector = fresh(database)
    for start, end in data.draw(cuts(len(history))):
        projector.apply(table(history[start:end]))
    without = contents(database)
    for row in naming:
        projector.apply(pa.Table.from_pylist([row], schema=BATCH_SCHEMA))
    in_place = mirror(database)
    assert contents(database) == without
    rows = [left_of(r) if r.id in gone and r.event.type != "erased" else r.row for r in history] + naming
    projector = fresh(database)
    for start, end in data.draw(cuts(len(rows))):
        projector.fill(pa.Table.from_pylist(rows[start:end], schema=BATCH_SCHEMA))
    projector.settle()
    assert mirror(database) == in_place
    assert contents(database) == without


def named(history: list[Recorded], id_: str, seq: int) -> dict[str, Any]:
    """The row of the event at `seq` that names what there is of a record as purged."""
    own = [r for r in history if r.id == id_ and r.event.type != "erased"]
    event = c.Erased(
        occurred_at=EPOCH,
        actor="user:dpo",
        erasure=ERASURE,
        ground="objection",
        bodies=tuple((r.seq, f"sha256:{sha256(r.row['body']).hexdigest()}") for r in own),
        envelopes=tuple((r.version, r.event.type, r.row["recorded_at"]) for r in own),
    )
    version = 1 + sum(r.id == id_ for r in history)
    row = Recorded(seq, "candidate", id_, version, event, key_destroyed=True).row
    return row | {"body": json.dumps({"state": event.model_dump(mode="json")}).encode()}


def left_of(recorded: Recorded) -> dict[str, Any]:
    """The row of a purged event, as the decoder makes it of what the naming event says."""
    row = recorded.row
    kept = {name: row[name] for name in ("seq", "recorded_at", "kind", "id", "version", "type")}
    return kept | {"hash": sha256(row["body"]).digest()}


def mirror(database: DuckDBPyConnection) -> list[object]:
    return database.execute("select * from pii.events order by seq").fetchall()
