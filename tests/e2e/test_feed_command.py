"""The feed of a node that is killed, as `rapport feed tail` shows it."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.harness import complaint, did, lines, ok, process, stop, until, up


def events(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = http.get("/v1/feed/events", params={"after": after, "limit": 1000} | params).raise_for_status().json()
        found += page["events"]
        if page["next"] == after:
            return found
        after = page["next"]


def relayed(http: httpx.Client) -> bool:
    found: bool = http.get("/v1/status").json()["feed"]["lag_events"] == 0
    return found


def test_a_node_killed_while_it_relays_goes_on_where_it_was(tmp_path: Path) -> None:
    """Each event of the ledger once, in its order, and nobody told of twice to have come into a pool."""
    data, chance = tmp_path / "data", random.Random(9)
    who = [f"p{n}@example.com" for n in range(400)]
    people = [did("sourced", w, source="ats") for w in who] + [did("tagged", w, tag="go") for w in who]
    file = lines(tmp_path / "people.ndjson", people)
    with up(data) as (node, http):
        rule = {"name": "Gophers", "rule": {"any": [{"tag": "go"}]}}
        assert http.post("/v1/pools", json=rule).is_success
        enough = chance.randrange(1, 300)
        with process(data, "import", file):
            until(lambda: http.get("/v1/status").json()["feed"]["last"] >= enough)
            node.kill()
            node.wait()
    with up(data) as (node, http):
        ok(data, "import", file)
        until(lambda: relayed(http) and len(events(http, types=["pool.joined"])) == len(who))
        told = events(http)
        query = "select seq from events where kind = 'candidate' order by seq"
        seqs = [row["seq"] for row in json.loads(ok(data, "query", query, "--format", "json"))]
        assert [e["event"]["data"]["seq"] for e in told if e["type"].startswith("candidate.")] == seqs
        joined = [e["event"]["data"]["candidate"] for e in told if e["type"] == "pool.joined"]
        assert len(set(joined)) == len(joined) == len(who)
        assert [e["position"] for e in told] == list(range(1, len(told) + 1))
        shown = [
            json.loads(line) for line in ok(data, "feed", "tail", "--after", "0", "-n", "5", "--json").splitlines()
        ]
        assert shown == [e["event"] for e in told[:5]]
        text = ok(data, "feed", "tail", "--after", "0", "-n", "1", "--types", "pool.*").decode()
        assert "pool.joined" in text
        assert "the feed ends at" in complaint(data, "feed", "tail", "--after", "999999")
        assert "feed stands at" in ok(data, "status").decode()
        stop(node, signal.SIGTERM)
