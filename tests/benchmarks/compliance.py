"""`make bench-compliance`: what a compliance officer waits for, on a generated history of 5,000,000 events.

python -m tests.benchmarks.compliance [--events N] [--keep DIR] [--json FILE]

The history is that of `make bench-views`, on a real ledger; a node serves it in a process of its own and is asked over
HTTP. With --keep the ledger and the views stay in DIR and are used again; nobody in them is erased, for that is done on
a copy, which needs as much room once more.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import httpx

from tests.benchmarks import sealing_cost
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.filling import fill, say
from tests.benchmarks.history import candidates
from tests.benchmarks.made_up import email_of
from tests.benchmarks.reporting import report
from tests.benchmarks.serving import PATIENCE_S, Served, dropped, node, peak_of, until
from tests.benchmarks.views_stages import Wrong
from tests.e2e.harness import RAPPORT, environment

EVENTS = 5_000_000
WARM_PEOPLE, WARM_ROUNDS = 200, 5
STARTS, ASKED_A_START = 20, 5
PROVED, EXPORTED, LOOKED = 20, 10, 5
ERASED, ERASED_IN_PEACE = 10, 4
CATCH_UP_S = 3_600.0
BUSY = httpx.codes.SERVICE_UNAVAILABLE
COMPLIANCE = "/v1/compliance"
People = Mapping[str, str]
"""The address of each person, by canonical id."""
LEFT = "select count(*) as n from pii.profile where canonical_id = '{id_}'"


def measure(events: int = EVENTS, keep: Path | None = None) -> Iterator[Figure]:
    """Every figure as it becomes known."""
    if keep is not None:
        yield from _measure(keep, events)
        return
    with TemporaryDirectory(prefix="rapport-bench-") as folder:
        yield from _measure(Path(folder), events)


def _measure(folder: Path, events: int) -> Iterator[Figure]:
    data = folder / "data"
    rate = fill(folder, events)
    made = f"({events:,} events of about {candidates(events):,} candidates)"
    yield Figure("the ledger made", rate, "events/s", note=made if rate else f"kept from a run before {made}")
    people = _caught_up(data, candidates(events))
    for stage in (answers, cold, verification):
        say(f"{stage.__name__} …")
        yield from stage(data, people)
    with TemporaryDirectory(prefix="erasing-", dir=folder) as copy:
        say("erasures, on a copy …")
        shutil.copytree(data, Path(copy) / "data")
        yield from erasures(Path(copy) / "data", people)
    say("imports with and without sealing …")
    yield from sealing_cost.measure(candidates(events))


def _caught_up(data: Path, among: int) -> People:
    """Random people of the history, once mirror, views and tree hold all of it."""
    with node(data) as served:
        last = served.get("/v1/status").json()["ledger"]["last_seq"]

        def reached() -> bool:
            done = int(served.get("/v1/status").json()["views"]["checkpoint"])
            say(f"views: {done:,} of {last:,} events")
            return done >= int(last)

        until(reached, "the views do not reach the end of the ledger", CATCH_UP_S, every_s=2.0)
        people: dict[str, str] = {}
        for n in random.Random(7).sample(range(among), among):
            answer = served.client.get(f"/v1/candidates/{email_of(n)}")
            if answer.status_code == httpx.codes.OK:
                people[answer.json()["canonical_id"]] = email_of(n)
            if len(people) == WARM_PEOPLE:
                break
        if not people:
            raise Wrong("nobody of the history can be asked about")
        for id_ in people:
            if not _left(served, id_):
                raise Wrong("the views do not know somebody of the history")
        served.get(f"{COMPLIANCE}/candidates/{next(iter(people))}/evidence")  # signed over all there is
    return people


def answers(data: Path, people: People) -> Iterator[Figure]:
    """Trails of people asked about before; evidence, exports and findings, each once for somebody or some time."""
    with node(data) as served:
        addresses = [*people.values()]
        steps = [len(served.get(_trail(who)).json()["events"]) for who in addresses]
        size = f"(median {percentile(steps, 0.5):,} events, longest {max(steps):,})"
        times_ms = [_ms(lambda who=who: served.get(_trail(who))) for _ in range(WARM_ROUNDS) for who in addresses]  # type: ignore[misc]
        yield Figure("trail of one candidate, warm, median", percentile(times_ms, 0.5), "ms", note=size)
        worst = f"({len(times_ms):,} answers, worst {max(times_ms):,.0f} ms)"
        yield Figure("trail of one candidate, warm, p99", percentile(times_ms, 0.99), "ms", 50, note=worst)
        for name, count in (("evidence", PROVED), ("export", EXPORTED)):
            paths = [f"{COMPLIANCE}/candidates/{who}/{name}" for who in addresses[:count]]
            yield _asked(f"{name} of one candidate", paths, served, lambda a: f"{len(a.content) / 1024:,.0f} KiB")
        paths = [f"{COMPLIANCE}/findings?limit=100"] * LOOKED
        yield _asked("findings, the first 100", paths, served, lambda a: f"{a.json()['total']:,} in all")
    yield served.memory("answers")


def _asked(name: str, paths: Sequence[str], served: Served, about: Callable[[httpx.Response], str]) -> Figure:
    """The median, with the worst and something about the last answer."""
    found: list[httpx.Response] = []
    times_ms = [_ms(lambda path=path: found.append(served.get(path))) for path in paths]  # type: ignore[misc]
    note = f"(median of {len(times_ms)}, worst {max(times_ms):,.0f} ms; {about(found[-1])})"
    return Figure(name, percentile(times_ms, 0.5), "ms", note=note)


def cold(data: Path, people: People) -> Iterator[Figure]:
    """Trails of people of whom neither node nor server know anything, nor does the system's cache of files.

    Node and server are started anew for every few people, none of whom is asked about twice; before each question the
    system is told to drop what it holds of the folder's files. What the node keeps of those few and of its own start,
    and blocks of the log that the server has read for them, stay: there is no way to drop those while it runs.
    """
    if not dropped(data):
        yield Figure("trail of one candidate, cold, p99", None, "ms", 300, note="no way to drop the system's cache")
        return
    first_ms, times_ms = _just_started(data, people, lambda: dropped(data))
    started = f"({len(times_ms)} answers of {STARTS} nodes just started, worst {max(times_ms):,.0f} ms)"
    yield Figure("trail of one candidate, cold, median", percentile(times_ms, 0.5), "ms")
    yield Figure("trail of one candidate, cold, p99", percentile(times_ms, 0.99), "ms", 300, note=started)
    worst = f"(worst {max(first_ms):,.0f} ms)"
    yield Figure("of these the first of each node, median", percentile(first_ms, 0.5), "ms", note=worst)
    for path in (path for path in data.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    _, times_ms = _just_started(data, people, lambda: None)
    started = f"(the same, with the ledger in the system's cache of files; worst {max(times_ms):,.0f} ms)"
    yield Figure("trail of one candidate, of a node just started, median", percentile(times_ms, 0.5), "ms")
    yield Figure("trail of one candidate, of a node just started, p99", percentile(times_ms, 0.99), "ms", note=started)


def _just_started(data: Path, people: People, before: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Milliseconds of the first answer of each of some nodes, and of all that few answers of each."""
    first_ms, times_ms, dice = list[float](), list[float](), random.Random(11)
    for _ in range(STARTS):
        before()
        with node(data) as served:
            for place, who in enumerate(dice.sample([*people.values()], min(ASKED_A_START, len(people)))):
                before()
                times_ms.append(_ms(lambda who=who: served.get(_trail(who))))  # type: ignore[misc]
                first_ms += times_ms[-1:] if place == 0 else []
    return first_ms, times_ms


def verification(data: Path, _: People) -> Iterator[Figure]:
    """`rapport verify` where no node runs, by its own count and clock."""
    command, peak = [str(RAPPORT), "--data", str(data), "verify", "--json"], None
    with TemporaryFile() as said, subprocess.Popen(command, stdout=said, env=environment()) as process:
        while process.poll() is None:
            peak = peak_of(process.pid) or peak
            time.sleep(0.05)
        said.seek(0)
        content = said.read()
    if process.returncode:
        raise Wrong(f"rapport verify ended with {process.returncode}: {content[-2_000:].decode()}")
    summary = json.loads(content)["summary"]
    note = f"({summary['events']:,} events in {summary['duration_s']:,.1f} s)"
    rate = summary["events"] / summary["duration_s"]
    yield Figure("rapport verify", rate, "events/s", 200_000, "at least", note)
    yield Figure("rapport verify: peak memory of the process", peak, "MiB")


def erasures(data: Path, people: People) -> Iterator[Figure]:
    """Persons erased: some one after the other, each when the one before is certified, the others in a row."""
    gone_s, busy_s, certified_s, last = list[float](), list[float](), list[float](), ""
    with node(data) as served:
        for place, (id_, who) in enumerate([*people.items()][-ERASED:]):
            started = time.perf_counter()
            last, took_s = erased(served, id_, who)
            (gone_s if place < ERASED_IN_PEACE else busy_s).append(took_s)
            if place < ERASED_IN_PEACE:
                _certified(served, last)
                certified_s.append(time.perf_counter() - started)
        _certified(served, last)
    everyone_s = gone_s + busy_s
    apart = (
        f"(one by one {percentile(gone_s, 0.5):.2f} s, while the file is written anew {percentile(busy_s, 0.5):.2f} s)"
    )
    name = "erase one person: until nothing can be read"
    yield Figure(f"{name}, median of {len(everyone_s)}", round(percentile(everyone_s, 0.5), 2), "s", 2, note=apart)
    yield Figure(f"{name}, worst", round(max(everyone_s), 2), "s", 2)
    worst = f"(median of {len(certified_s)}, worst {max(certified_s):.1f} s)"
    yield Figure("erase one person: until certified", percentile(certified_s, 0.5), "s", note=worst)
    yield served.memory("erasures")


def erased(served: Served, id_: str, who: str) -> tuple[str, float]:
    """The erasure's id, and the seconds from the request until neither profile nor trail nor SQL tell of the person.

    Where the node answers that it is to be asked again, it is, and the time goes on.
    """
    asked = {"candidate": who, "ground": "objection", "by": "user:benchmark"}
    started = time.perf_counter()
    while (answer := served.client.post(f"{COMPLIANCE}/erasures", json=asked)).status_code == BUSY:
        if time.perf_counter() - started > PATIENCE_S:
            break
        time.sleep(0.01)
    if answer.status_code != httpx.codes.OK:
        raise Wrong(f"the erasure answered {answer.status_code}: {answer.text}")
    while True:
        took_s = time.perf_counter() - started
        if not _readable(served, id_, who):
            return str(answer.json()["erasure"]), took_s
        if took_s > PATIENCE_S:
            raise Wrong(f"after {took_s:,.0f} s the person can still be read")


def _readable(served: Served, id_: str, who: str) -> bool:
    """Whether anything may still tell of the person: any other answer than that they were erased counts."""
    ways = (f"/v1/candidates/{who}", f"/v1/candidates/{id_}", _trail(id_))
    return any(served.client.get(way).status_code != httpx.codes.GONE for way in ways) or _left(served, id_) > 0


def _left(served: Served, id_: str) -> int:
    """Rows of the person's profile; as if there were one while the node cannot say."""
    answer = served.client.post("/v1/sql", json={"query": LEFT.format(id_=id_)})
    if answer.status_code == BUSY:
        return 1
    if answer.status_code != httpx.codes.OK:
        raise Wrong(f"SQL answered {answer.status_code}: {answer.text}")
    return int(answer.json()[0]["n"])


def _certified(served: Served, erasure: str) -> None:
    path = f"{COMPLIANCE}/erasures/{erasure}"
    until(lambda: served.get(path).json()["certified"], "an erasure is not certified", PATIENCE_S)


def _trail(who: str) -> str:
    return f"{COMPLIANCE}/candidates/{who}/trail"


def _ms(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1_000


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS, help="size of the history; everything scales with it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where ledger and views stay, to be used again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    chosen = parser.parse_args()
    report(measure(chosen.events, chosen.keep), chosen.json)


if __name__ == "__main__":
    main()
