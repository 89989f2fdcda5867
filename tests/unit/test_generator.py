"""Made-up histories: the same for the same seed, taken at the door, and with something of everything in them."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.generator import LAST_MOMENT, generate
from domain import candidate
from domain.interaction import event_of, parse

Record = dict[str, Any]
NOT_MADE_UP = {
    *("profile_corrected", "untagged", "messaged", "consent_requested", "consent_refused", "restricted"),
    *("restriction_lifted", "request_received", "request_extended", "request_closed", "recipient_notified", "erased"),
}
TRACKED = {"applied", "stage_changed", "rejected", "hired"}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(generate(2_000, seed=7))


def test_the_same_seed_gives_the_same_records_in_order_of_time(records: list[Record]) -> None:
    assert list(generate(2_000, seed=7)) == records
    assert list(generate(2_000, seed=8)) != records
    times = [r["occurred_at"] for r in records]
    assert times == sorted(times)
    assert datetime.fromisoformat(times[-1]) <= LAST_MOMENT


def test_every_record_becomes_an_event(records: list[Record]) -> None:
    made = set()
    for record in records:
        interaction = parse(record)
        into = interaction.data.pop("into", None) or interaction.type == "unmerged"
        made.add(event_of(interaction, into="ab" * 16 if into else None).type)
    assert made == candidate.EVENTS.keys() - NOT_MADE_UP


def test_an_application_goes_stage_by_stage_and_ends_once(records: list[Record]) -> None:
    """On one job, or on none in particular; some are open, rejected or hired."""
    applications: dict[str, list[list[str]]] = defaultdict(list)
    job: dict[str, str | None] = {}
    for r in records:
        if r["type"] in TRACKED:
            who, data = r["candidate"]["email"], r["data"]
            if r["type"] == "applied":
                applications[who].append([])
                job[who] = data.get("job")
            applications[who][-1].append(data["stage"] if r["type"] == "stage_changed" else r["type"])
            assert data.get("job") == job[who]
    told = {tuple(steps) for one in applications.values() for steps in one}
    so_far = [("applied", "screening", "interview", "offer")[:n] for n in (1, 2, 3, 4)]
    assert told == {*so_far, *((*steps, "rejected") for steps in so_far[1:]), (*so_far[3], "hired")}
    assert None in job.values()


def test_a_scanner_follows_every_link_of_a_message_within_a_second(records: list[Record]) -> None:
    """Unnoticed by the provider, on a small share of messages; some of them late enough to look human."""
    delivered = {r["data"]["message"]: r for r in records if r["type"] == "delivered"}
    bursts: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        if r["type"] == "clicked" and "machine" not in r["data"]:
            bursts[r["data"]["message"]].append(r)
    assert 0.01 < len(bursts) / len(delivered) < 0.06
    after = []
    for message, clicks in bursts.items():
        times = [datetime.fromisoformat(r["occurred_at"]) for r in clicks]
        assert len({r["data"]["url"] for r in clicks}) == len(clicks) == 3
        assert times[-1] - times[0] < timedelta(seconds=1)
        after.append(times[-1] - datetime.fromisoformat(delivered[message]["occurred_at"]))
    assert min(after) < timedelta(seconds=1)
    assert max(after) > timedelta(seconds=30)


def test_nobody_who_was_hired_is_written_to(records: list[Record]) -> None:
    hired = set()
    for r in records:
        hired |= {r["candidate"].get("email")} if r["type"] == "hired" else set()
        assert r["type"] != "emailed" or r["candidate"]["email"] not in hired
    assert hired
