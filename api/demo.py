"""`rapport demo`: the whole path on made-up people, on a temporary data folder."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from api.cli import consent, engagement, output, pools
from api.cli.client import Client, connect
from api.cli.data import run_import
from api.generator import DAYS, LAST_MOMENT, generate
from api.importing import open_source
from infra.settings import Settings

POOLS: list[dict[str, Any]] = [
    {
        "name": "Python in Germany",
        "rule": {"all": [{"tag": "python"}], "any": [{"location": "Berlin"}, {"location": "Hamburg"}]},
    },
    {
        "name": "Senior, may be emailed",
        "rule": {
            "any": [{"seniority": "senior"}, {"seniority": "lead"}],
            "all": [{"contactable": {"channel": "email"}}],
            "none": [{"source": "agency"}],
        },
    },
    {"name": "Met at a meetup", "rule": {"all": [{"source": "meetup"}]}},
]

OPTED_OUT = """
    select i.canonical_id from events e join identity i on i.candidate_id = e.id
    where e.type = 'opted_in' order by e.seq limit 1
"""


def run_demo(candidates: int, seed: int) -> None:
    """Prints the three views, one trail and the time each step took."""
    times: list[tuple[str, float]] = []

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        times.append((name, time.perf_counter() - started))

    with tempfile.TemporaryDirectory(prefix="rapport-demo-") as folder:
        file = Path(folder) / "interactions.ndjson"
        with step(f"generate {candidates:,} candidates' history"), file.open("wb") as target:
            target.writelines(orjson.dumps(record) + b"\n" for record in generate(candidates, seed))
        with step("start the node"):
            connection = connect(Settings.embedded(Path(folder) / "data"))
            client = connection.__enter__()
        try:
            with step("import it: decide, encrypt, append, project"):
                summary = run_import(client, open_source(str(file)), Path(folder) / "rejected.ndjson", quiet=False)
            output.say(f"\n{summary['accepted']:,} interactions recorded in the ledger\n")
            with step("three pools, their members"):
                _show_pools(client)
            with step("engagement, top 10"):
                engagement.show_top(client.get("/v1/engagement", limit=10))
            with step("standing by purpose and channel"):
                _show_standing(client)
            with step("one consent trail, from the ledger"):
                _show_trail(client)
        finally:
            connection.__exit__(None, None, None)
    output.table("Time each step took", ["step", "seconds"], ([name, f"{seconds:.2f}"] for name, seconds in times))
    output.out.print(
        "Where to go next:\n"
        "  make up                                   serve the API on http://127.0.0.1:8642\n"
        "  .venv/bin/rapport import people.csv       your own people\n"
        '  .venv/bin/rapport query "show tables"     what there is to ask in SQL\n'
        "  README.md                                 the five examples"
    )


def _show_pools(client: Client) -> None:
    since = (LAST_MOMENT - timedelta(days=DAYS)).isoformat()
    for pool in POOLS:
        client.send("POST", "/v1/pools", json=pool | {"occurred_at": since})
    pools.show_pools(client.get("/v1/pools"))
    first = POOLS[0]["name"]
    halfway = LAST_MOMENT - timedelta(days=DAYS / 2)
    pools.show_members(first, client.get(f"/v1/pools/{quote(first)}/members", as_of=halfway), most=5)


def _show_standing(client: Client) -> None:
    rows = client.send("POST", "/v1/sql", json={"query": STANDING})
    output.table(
        "Consent and basis now (gdpr_audit)",
        ["purpose", "channel", "status", "contactable", "people"],
        ([r["purpose"], r["channel"], r["status"], r["contactable"], r["people"]] for r in rows),
    )


STANDING = """
    select purpose, channel, status, contactable, count(*) as people from gdpr_audit
    where valid_to is null group by all order by people desc, purpose, channel limit 12
"""


def _show_trail(client: Client) -> None:
    rows = client.send("POST", "/v1/sql", json={"query": OPTED_OUT})
    ref = rows[0]["canonical_id"] if rows else client.get("/v1/engagement", limit=1)["candidates"][0]["canonical_id"]
    consent.show_trail(client.get(f"/v1/compliance/candidates/{ref}/trail"))
