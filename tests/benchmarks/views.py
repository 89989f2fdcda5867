"""How fast views follow the ledger, and how fast they are built anew.

python -m tests.benchmarks.views --events 1000000 --batch 20000
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from infra.duckdb import open_database
from projections import BATCH_SCHEMA, Projector, rebuild
from projections.registry import VIEWS

EVENTS_PER_CANDIDATE = 10
POOLS = 20

HISTORY = """
with drawn as (
    select
        n as seq,
        n <= $pools as is_pool,
        -- Each candidate's events are near one another in the ledger, as they are in life.
        hash(n * 7 + 1) % 1000 as dice,
        (n + (hash(n) % 40000)::bigint) // $each as person
    from range($first, $last) t(n)
),
typed as (
    select
        *,
        if(is_pool, md5('pool' || seq), md5('c' || person)) as id,
        case
            when is_pool then 'created'
            when dice < 120 then 'sourced'
            when dice < 220 then 'tagged'
            when dice < 450 then 'emailed'
            when dice < 600 then 'delivered'
            when dice < 780 then 'opened'
            when dice < 840 then 'clicked'
            when dice < 870 then 'replied'
            when dice < 925 then 'basis_recorded'
            when dice < 955 then 'consent_given'
            when dice < 970 then 'opted_out'
            when dice < 985 then 'bounced'
            when dice < 997 then 'event_attended'
            else 'merged'
        end as type
    from drawn
)
select
    seq::bigint as seq,
    timestamptz '2026-01-01 00:00:00+00' + to_seconds(seq) as recorded_at,
    if(is_pool, 'pool', 'candidate') as kind,
    id,
    1::integer as version,
    type,
    1::smallint as v,
    recorded_at - to_seconds(dice * 60) as occurred_at,
    '{"actor_kind":"service","channel":"email"' || case type
        when 'created' then ',"rule":{"all":[{"tag":"tag ' || seq || '"},'
            || '{"contactable":{"channel":"email","purpose":"recruiting"}}],"any":[],"none":[{"location":"city 3"}]}'
        when 'sourced' then ',"source":"linkedin","seniority":"senior","jurisdiction":"DE"'
        when 'emailed' then ',"purpose":"recruiting","campaign":"spring"'
        when 'opened' then ',"machine":' || if(dice % 3 = 0, 'true', 'false')
        when 'clicked' then ',"machine":false'
        when 'basis_recorded' then ',"purpose":"' || if(dice % 2 = 0, 'recruiting', 'open_tracking')
            || '","basis":"legitimate_interest","lia":"LIA-1"'
        when 'consent_given' then ',"purpose":"recruiting","notice_version":"v3","expires_at":"2027-01-01T00:00:00Z"'
        when 'opted_out' then ',"purpose":"recruiting","method":"link","right":"art_21"'
        when 'bounced' then ',"kind":"' || if(dice % 2 = 0, 'hard', 'soft') || '"'
        when 'event_attended' then ',"event":"meetup"'
        when 'merged' then ',"into":"' || md5('c' || (person + 1)) || '"'
        else ''
    end || '}' as public,
    '{"actor":"system:import","interaction":"x:' || seq || '"' || case type
        when 'created' then ',"name":"Pool ' || seq || '"'
        when 'sourced' then ',"first_name":"Ada","last_name":"L' || person || '","location":"City ' || dice % 9
            || ', Germany","skills":["SQL","Go","Skill ' || dice % 50
            || '"],"identifiers":["email:' || person || '@example.com"]'
        when 'tagged' then ',"tag":"Tag ' || dice % 40 || '"'
        when 'emailed' then ',"message":"m' || dice % 5 || '"'
        when 'delivered' then ',"message":"m' || dice % 5 || '"'
        when 'opened' then ',"message":"m' || dice % 5 || '"'
        when 'clicked' then ',"message":"m' || dice % 5 || '","url":"https://example.com/' || dice % 3 || '"'
        else ''
    end || '}' as personal,
    encode(personal) as body,
    null::varchar as problem
from typed
order by seq
"""


def history(events: int, batch: int, start: int = 1) -> Iterator[pa.Table]:
    """A made-up ledger of `events` events, in batches, from `start` on."""
    maker = duckdb.connect(config={"threads": 2})
    maker.execute("set TimeZone = 'UTC'")
    for first in range(start, events + 1, batch):
        parameters = {
            "first": first,
            "last": min(first + batch, events + 1),
            "pools": POOLS,
            "each": EVENTS_PER_CANDIDATE,
        }
        yield maker.sql(HISTORY, params=parameters).to_arrow_table().cast(BATCH_SCHEMA)


def follow(projector: Projector, events: int, batch: int) -> dict[str, float]:
    """Apply a ledger of `events` events in batches; events a second, without the making of them."""
    spent, slowest = 0.0, 0.0
    for table in history(events, batch):
        started = time.perf_counter()
        projector.apply(table)
        took = time.perf_counter() - started
        spent, slowest = spent + took, max(slowest, took)
    return {"events_per_s": round(events / spent), "seconds": round(spent, 2), "slowest_batch_s": round(slowest, 3)}


def live(projector: Projector, rounds: int = 20) -> dict[str, float]:
    """Seconds until one more event is in every view."""
    after = projector.checkpoint
    times = []
    for table in history(after + rounds, 1, after + 1):
        started = time.perf_counter()
        projector.apply(table)
        times.append(time.perf_counter() - started)
    return {"median_ms": round(sorted(times)[len(times) // 2] * 1000, 1), "worst_ms": round(max(times) * 1000, 1)}


def rebuilding(projector: Projector) -> dict[str, float]:
    """Events a second of building each view, and all of them, anew."""
    began: dict[str, float] = {}
    rates: dict[str, float] = {}

    def note(name: str, done: float) -> None:
        if done == 0.0:
            began[name] = time.perf_counter()
        else:
            rates[name] = round(projector.checkpoint / (time.perf_counter() - began[name]))

    started = time.perf_counter()
    rebuild(projector, None, note)
    rates["all"] = round(projector.checkpoint / (time.perf_counter() - started))
    return rates


def measure(events: int = 1_000_000, batch: int = 20_000) -> dict[str, object]:
    """Every figure, on a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rapport.duckdb"
        connection = open_database(path)
        projector = Projector(connection)
        result: dict[str, object] = {"events": events, "batch": batch, "follow": follow(projector, events, batch)}
        result["live"] = live(projector)
        result["rebuild_events_per_s"] = rebuilding(projector)
        connection.execute("checkpoint")
        result["file_mb"] = round(path.stat().st_size / 1e6)
        connection.close()
    return result


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--batch", type=int, default=20_000)
    chosen = arguments.parse_args()
    print(json.dumps(measure(chosen.events, chosen.batch) | {"views": [v.name for v in VIEWS]}, indent=2))
