"""Claims: which candidate or pool an identifier points at, without the identifier.

A claim is stored under HMAC-SHA256(pepper, identifier); the value is the 32-digit id. It is only ever created,
never overwritten, so two concurrent sourcings of one address end as one candidate.
"""

import contextlib
import hmac
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from threading import Lock
from typing import Protocol

from eventsourcing.persistence import IntegrityError

from infra.crypto.keyring import KeyBucket

CACHE_ENTRIES = 200_000

SUPPRESSED = "erased"
"""What an identifier of an erased person leads to, so that neither an import nor a late webhook brings them back."""

LEASE = timedelta(minutes=2)
"""How long a claim without events is left to whoever made it. An append that takes longer is decided again."""


class Entry(Protocol):
    """A stored claim."""

    @property
    def value(self) -> bytes: ...
    @property
    def revision(self) -> int: ...
    @property
    def recorded_at(self) -> datetime: ...


class ClaimBucket(KeyBucket, Protocol):
    """What claims need of their store; `infra.jetstream.Bucket` is one."""

    def get_entry(self, key: str) -> Entry | None: ...
    def update(self, key: str, value: bytes, revision: int) -> int: ...
    def put(self, key: str, value: bytes) -> int: ...
    def delete(self, key: str, revision: int | None = None) -> None: ...


class Claims:
    """Identifiers to ids. Safe to share between threads; claims made elsewhere are seen at once."""

    def __init__(self, bucket: ClaimBucket, pepper: Callable[[], bytes], lease: timedelta = LEASE) -> None:
        """`pepper` is asked when the first identifier is: without keys, whatever names none goes on."""
        self._bucket = bucket
        self._ask_pepper = pepper
        self._lease = lease
        self._known: dict[str, str] = {}
        self._lock = Lock()

    def resolve(self, identifiers: Iterable[str]) -> dict[str, str]:
        """The ids behind those identifiers that are claimed."""
        hashes = {i: self._hash(i) for i in identifiers}
        with self._lock:
            found = {h: self._known[h] for h in hashes.values() if h in self._known}
        if missing := [h for h in hashes.values() if h not in found]:
            found |= {h: value.decode() for h, value in self._bucket.get_many(missing).items()}
        return {i: found[h] for i, h in hashes.items() if h in found}

    def claim(self, wanted: dict[str, str]) -> dict[str, str]:
        """Claims each identifier for its id. Returns who holds each of them now: others may have been first."""
        if not wanted:
            return {}
        hashes = {i: self._hash(i) for i in wanted}
        created = self._bucket.create_many({hashes[i]: wanted[i].encode() for i in wanted})
        lost = [i for i in wanted if not created[hashes[i]]]
        return {i: wanted[i] for i in wanted if i not in lost} | self.resolve(lost)

    def remember(self, held: dict[str, str]) -> None:
        """Keeps claims at hand whose holders have events: those stay as they are for good."""
        with self._lock:
            if len(self._known) > CACHE_ENTRIES:
                self._known.clear()
            self._known.update({self._hash(identifier): id_ for identifier, id_ in held.items()})

    def take_over(self, identifier: str, dead: str, heir: str, *, at_once: bool = False) -> bool:
        """Moves a claim from `dead`, an id without events, to `heir`; whether that was possible.

        Whoever made the claim may be about to append, so it is left alone for `LEASE`; `at_once` is for ids that this
        process itself has given up. Only one taker wins.
        """
        hashed = self._hash(identifier)
        entry = self._bucket.get_entry(hashed)
        if entry is None or entry.value != dead.encode():
            return False
        if not at_once and datetime.now(UTC) - entry.recorded_at < self._lease:
            return False
        try:
            self._bucket.update(hashed, heir.encode(), entry.revision)
        except IntegrityError:
            return False
        return True

    def hashes(self, identifiers: Iterable[str]) -> list[str]:
        """By which the claims on these identifiers are kept."""
        return [self._hash(i) for i in identifiers]

    def suppress(self, hashes: Iterable[str]) -> None:
        """From now on these lead to nobody, and nobody can claim them; what they led to is overwritten. Idempotent."""
        for hashed in hashes:
            self._bucket.put(hashed, SUPPRESSED.encode())
            with self._lock:
                self._known.pop(hashed, None)

    def suppressed(self, hashed: str) -> int | None:
        """The revision by which the identifier of this hash leads to somebody who was erased; None if it does not."""
        entry = self._bucket.get_entry(hashed)
        return entry.revision if entry is not None and entry.value == SUPPRESSED.encode() else None

    def lapsed(self, hashes: Iterable[str]) -> list[str]:
        """Those that lead to somebody, or to nobody as if there had never been anybody."""
        wanted = sorted(hashes)
        found = self._bucket.get_many(wanted)
        return [hashed for hashed in wanted if found.get(hashed) != SUPPRESSED.encode()]

    def free(self, hashed: str, revision: int) -> None:
        """Has no claim on a suppressed identifier any more, so that it can be claimed as any other.

        Only while `revision` is what suppresses it: what came of it meanwhile, somebody's claim or a new suppression,
        stays.
        """
        with contextlib.suppress(IntegrityError):
            self._bucket.delete(hashed, revision)

    def forget(self, id_: str) -> None:
        """Has no claim of an id at hand any more, which was erased through another node."""
        with self._lock:
            self._known = {hashed: holder for hashed, holder in self._known.items() if holder != id_}

    @cached_property
    def _pepper(self) -> bytes:
        return self._ask_pepper()

    def _hash(self, identifier: str) -> str:
        return hmac.new(self._pepper, identifier.encode("utf-8", "surrogatepass"), sha256).hexdigest()
