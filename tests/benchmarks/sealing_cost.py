"""What encryption costs an import: the same people imported with sealing, without it, and without keys too.

The product cannot be told to leave its personal fields open; here its sealing is replaced, in a process of its own that
ends with the import. What replaces it does everything but encrypt: the same bytes are put together, encoded and stored.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from api.generator import generate
from api.node import Node
from domain.interaction import parse
from infra import logging
from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.recording import Accepted
from infra.settings import Settings
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.path import CHUNK
from tests.benchmarks.views_stages import Wrong

SEALED, OPEN, KEYLESS = "sealed", "encoded only", "no keys either"
MOST_PEOPLE, LEAST_PEOPLE = 5_000, 500
ROUNDS = 5
NONCE, TAG = bytes(sealing.NONCE_BYTES), bytes(16)
KEY = bytes(range(sealing.KEY_BYTES))
SETTLE_S = 600.0


class Import(NamedTuple):
    """One import: events a second by the clock, and microseconds of the process for each event, all its threads."""

    rate: float
    cpu_us: float


def measure(candidates: int) -> Iterator[Figure]:
    """The share of import throughput that encryption costs. The kinds take turns, so that all see the same machine."""
    people = max(LEAST_PEOPLE, min(MOST_PEOPLE, candidates // 40))
    kinds = tuple(KINDS)
    taken: dict[str, list[Import]] = {kind: [] for kind in kinds}
    for n in range(ROUNDS):
        for kind in (*kinds[n % len(kinds) :], *kinds[: n % len(kinds)]):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                taken[kind].append(process.submit(imported, kind, people).result())
    rates = ", ".join(f"{kind} {percentile([i.rate for i in taken[kind]], 0.5):,.0f}" for kind in kinds)
    bare = taken[OPEN]
    cost = 100 * share(bare, taken[SEALED])
    yield Figure(
        "encryption: its part of import throughput", cost, "%", 20, note=f"(events/s: {rates}; {ROUNDS} rounds)"
    )
    cost = 100 * share_of_cpu(bare, taken[SEALED])
    yield Figure("the same by the process's CPU time", cost, "%")
    cost = 100 * share(taken[KEYLESS], taken[SEALED])
    yield Figure("encryption and the keys of new people: their part of import throughput", cost, "%", 20)


def share(without: Sequence[Import], with_: Sequence[Import]) -> float:
    """The part of the throughput `without` that is lost, from 0 to 1: the median over rounds. Below 0: a gain."""
    return percentile([1 - w.rate / o.rate for o, w in zip(without, with_, strict=True)], 0.5)


def share_of_cpu(without: Sequence[Import], with_: Sequence[Import]) -> float:
    """The part of the CPU time `with_` that is spent in addition, from 0 to 1: the median over rounds."""
    return percentile([1 - o.cpu_us / w.cpu_us for o, w in zip(without, with_, strict=True)], 0.5)


def imported(kind: str, people: int) -> Import:
    """A node of its own takes the history of so many people, 500 interactions at a time. Alters this process."""
    logging.configure("error")
    KINDS[kind]()
    interactions = [parse(document) for document in generate(people, seed=1)]
    with TemporaryDirectory(prefix="rapport-bench-") as folder, Node(Settings.embedded(Path(folder) / "data")) as node:
        started, cpu_s = time.perf_counter(), time.process_time()
        for start in range(0, len(interactions), CHUNK):
            outcomes = node.recording.record(interactions[start : start + CHUNK], facts=True)
            if refused := [outcome for outcome in outcomes if not isinstance(outcome, Accepted)]:
                raise Wrong(f"not recorded: {refused[0]}")
        last = node.ledger.last_seq()
        taken = Import(
            len(interactions) / (time.perf_counter() - started),
            (time.process_time() - cpu_s) * 1e6 / len(interactions),
        )
        node.wait_for(last, SETTLE_S)
        _require_opened(node, kind)
    return taken


def _require_opened(node: Node, kind: str) -> None:
    """What was stored is sealed or stands open, as this kind has it, and can be read back. Raises Wrong."""
    with node.projector.cursor() as cursor:
        row = cursor.execute("select body, first_name from pii.events where type = 'sourced' limit 1").fetchone()
        broken = cursor.execute("select count(*) from ops.dead_letters").fetchone()
    if row is None or broken != (0,):
        raise Wrong(f"an import ({kind}) left {broken} events that cannot be opened")
    stands_open = row[1].encode() in b64decode(json.loads(row[0])["state"]["sealed"])
    if stands_open == (kind == SEALED):
        raise Wrong(f"an import ({kind}) stored what is personal {'open' if stands_open else 'sealed'}")


def _sealed() -> None:
    """As the product does."""


def _encoded_only() -> None:
    """No cipher: nonce, plaintext and tag stand in the stored bytes as they would be sealed."""

    def seal(_key: bytes, plaintext: bytes, _context: bytes, _nonce: bytes | None = None) -> bytes:
        return sealing.CONSTRUCTION + NONCE + plaintext + TAG

    def unseal(_key: bytes, sealed: bytes, _context: bytes) -> bytes:
        return sealed[1 + len(NONCE) : -len(TAG)]

    replaced: Any = sealing
    replaced.seal, replaced.unseal = seal, unseal


def _no_keys_either() -> None:
    """Nor is a key made for a new person, stored, or looked up."""

    def same(_ring: Keyring, names: Iterable[str]) -> dict[str, bytes]:
        return dict.fromkeys(names, KEY)

    _encoded_only()
    replaced: Any = Keyring
    replaced.make = replaced.existing = same
    replaced.read_ahead = lambda *_: None


KINDS: Mapping[str, Callable[[], None]] = {
    SEALED: _sealed,
    OPEN: _encoded_only,
    KEYLESS: _no_keys_either,
}
"""What is replaced before an import of this kind."""
