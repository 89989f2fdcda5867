"""Deliveries that could not be recorded, and those of a kind nobody knows: sealed, kept for some days, then gone.

Stream `INGEST_DEAD`. A dead letter has a subject of its own; of an unknown kind the last deliveries are kept, and a
running number tells how many there were. What a letter is about is sealed with it: a reason or a kind is a provider's
word, and who knows what stands in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Literal
from uuid import uuid4

from eventsourcing.persistence import OperationalError

from infra.crypto.sealing import SealBrokenError
from infra.ingest_parts import without
from infra.ingest_seals import Seals, Taken
from infra.jetstream import ApiError, Connection
from infra.jetstream.batch import CONFLICTS, publish_one
from infra.jetstream.stream import (
    STREAM_NOT_FOUND,
    StoredMessage,
    Stream,
    durable_settings,
    ensure,
    erase_messages,
    get_message,
    scan_subject,
)
from infra.mentions import names

KEPT_OF_A_KIND = 100
"""Deliveries of one unknown kind that are kept; older ones go first."""
ATTEMPTS = 5
LETTER, UNKNOWN = "letter", "unknown"


@dataclass(frozen=True, slots=True)
class Letter:
    """One of them. `taken` is None when it cannot be opened any more."""

    seq: int
    form: Literal["letter", "unknown"]
    provider: str
    kept_at: datetime
    reasons: tuple[str, ...] = ()
    """Of a letter: why, a sentence each, without anything of what was sent."""
    kind: str = ""
    """Of an unknown one: the provider's word for it."""
    number: int = 1
    """Of an unknown one: so many there were, this one included."""
    once: str | None = None
    """Of an unknown one: by which name it was kept."""
    taken: Taken | None = field(default=None, repr=False)
    closed: bool = False
    """Whether the body is a delivery as it lay in the queue, which could not be opened."""


class Letters:
    """Those of one ledger. Safe to share between threads."""

    def __init__(
        self, connection: Connection, seals: Seals, days: int, replicas: int = 1, name: str = "INGEST_DEAD"
    ) -> None:
        self.days = days
        self._stream = Stream(name, name.lower(), replicas)
        self._connection = connection
        self._seals = seals
        connection.call(self._ensure())

    async def _ensure(self) -> None:
        own = {"max_msgs_per_subject": KEPT_OF_A_KIND, "allow_rollup_hdrs": False, "deny_purge": False}
        age_ns = int(timedelta(days=self.days).total_seconds()) * 10**9
        settings = durable_settings(self._stream, discard="old", max_age=age_ns, **own)
        try:
            found = (await self._connection.read_api(f"STREAM.INFO.{self._stream.name}"))["config"]
            if found["max_age"] != age_ns:  # the one setting that an operator may change
                await self._connection.api(f"STREAM.UPDATE.{self._stream.name}", found | {"max_age": age_ns})
        except ApiError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
        await ensure(self._connection, self._stream, settings)

    def add(self, taken: Taken, reasons: Iterable[str], *, once: str | None = None, closed: bool = False) -> None:
        """Keeps a delivery that cannot be recorded; by the name `once`, if it has one, once only.

        Returns when it is on disk. Raises OperationalError, DataError.
        """
        body = self._seals.seal("dead", taken, {"reasons": list(reasons), "closed": closed})
        name = uuid4().hex if once is None else _hashed(once)
        try:
            self._connection.call(
                self._publish(f"{self._stream.prefix}.{LETTER}.{taken.provider}.{name}", body, 0 if once else None)
            )
        except ApiError as error:
            if error.code not in CONFLICTS:
                raise

    def add_closed(self, provider: str, stored: bytes, reason: str, once: str | None = None) -> None:
        """Keeps what cannot even be opened, as it is. As `add`."""
        nothing = Taken(provider, datetime.now(UTC), {}, stored, records=False)
        self.add(nothing, [reason], once=once, closed=True)

    def add_unknown(self, taken: Taken, kind: str, once: str | None = None) -> None:
        """Keeps a delivery of an unknown kind, and counts it; not one of the name of the last. As `add`."""
        subject = f"{self._stream.prefix}.{UNKNOWN}.{taken.provider}.{_hashed(kind)}"
        for _ in range(ATTEMPTS):
            last = self._connection.call(get_message(self._connection, self._stream, last_by_subj=subject))
            before = None if last is None else self._letter(last)
            if before is not None and once is not None and before.once == once:
                return
            number = 1 if before is None else before.number + 1
            body = self._seals.seal("dead", taken, {"kind": kind, "number": number, "once": once})
            try:
                self._connection.call(self._publish(subject, body, 0 if last is None else last.seq))
            except ApiError as error:
                if error.code not in CONFLICTS:
                    raise
            else:
                return
        raise OperationalError("others kept counting this kind of delivery")

    async def _publish(self, subject: str, body: bytes, expected: int | None) -> None:
        timeout_s = self._connection.request_timeout_s
        await publish_one(self._connection, subject, body, expected, timeout_s=timeout_s)

    def count(self) -> int:
        """How many dead letters there are. Raises OperationalError."""
        return len(self._subjects(LETTER))

    def count_of_kinds(self) -> int:
        """How many unknown kinds there are. Raises OperationalError."""
        return len(self._subjects(UNKNOWN))

    def letters(self) -> Iterator[Letter]:
        """The dead letters, oldest first, opened. Raises OperationalError."""
        return self._each(f"{self._stream.prefix}.{LETTER}.>")

    def kinds(self, after: str = "") -> Iterator[tuple[str, Letter]]:
        """The newest delivery of each unknown kind, whose `number` is how many there were, with the kind's place behind
        `after`: by provider, and within one in an order that stays. Raises OperationalError.
        """
        before = f"{self._stream.prefix}.{UNKNOWN}."
        for subject in sorted(self._subjects(UNKNOWN)):
            if (place := subject.removeprefix(before)) <= after:
                continue
            last = self._connection.call(get_message(self._connection, self._stream, last_by_subj=subject))
            if last is not None:
                yield place, self._letter(last)

    def alike(self, seq: int) -> list[tuple[int, datetime]]:
        """The deliveries kept of the unknown kind that the one at `seq` is of, itself included: where, and since when.

        Oldest first; none when there is nothing at `seq`, or a dead letter. Raises OperationalError.
        """
        message = self._connection.call(get_message(self._connection, self._stream, seq=seq))
        if message is None or not message.subject.startswith(f"{self._stream.prefix}.{UNKNOWN}."):
            return []
        scan, found = scan_subject(self._connection, self._stream, message.subject), []
        while (one := self._connection.call(_next(scan))) is not None:
            found.append((one.seq, one.recorded_at))
        return found

    def get(self, seq: int) -> Letter | None:
        """The one at `seq`, if it is there. Raises OperationalError."""
        message = self._connection.call(get_message(self._connection, self._stream, seq=seq))
        return None if message is None else self._letter(message)

    def drop(self, seqs: Iterable[int]) -> int:
        """Overwrites them on disk; how many were there. Raises OperationalError."""
        return self._connection.call(erase_messages(self._connection, self._stream, list(seqs)))

    def drop_naming(self, identifiers: Iterable[str]) -> int:
        """Overwrites those that name one of these, such as `email:ada@example.com`; how many. For an erasure.

        As `infra.mentions` finds them; one that cannot be opened goes with its day. What a dead letter tells of others
        in elements of its own is in none of their records yet: it is kept anew. Raises OperationalError.
        """
        sought = list(identifiers)
        if not sought:
            return 0
        named = []
        for letter in self._each(f"{self._stream.prefix}.>"):
            taken = letter.taken
            if taken is None or not names(taken.body, letter.provider, sought):
                continue
            named.append(letter.seq)
            if letter.form == LETTER and not letter.closed:
                self._keep_rest(letter, without(taken, partial(names, system=letter.provider, identifiers=sought)))
        return self.drop(named)

    def _keep_rest(self, letter: Letter, rest: Taken | None) -> None:
        if rest is not None:
            self.add(rest, letter.reasons)

    def _each(self, subject: str) -> Iterator[Letter]:
        scan = scan_subject(self._connection, self._stream, subject)
        while (message := self._connection.call(_next(scan))) is not None:
            yield self._letter(message)

    def _subjects(self, form: str) -> Mapping[str, int]:
        """The subjects there are, with how many messages each."""
        query = {"subjects_filter": f"{self._stream.prefix}.{form}.>"}
        found: dict[str, int] = {}
        while True:
            asked = query | {"offset": len(found)}
            info = self._connection.call(self._connection.read_api(f"STREAM.INFO.{self._stream.name}", asked))
            page = info["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= info.get("total", 0):
                return found

    def keys_needed_from(self) -> date:
        """The first day whose key may still be needed."""
        return (self._seals.clock.now() - timedelta(days=self.days + 1)).date()

    def _letter(self, message: StoredMessage) -> Letter:
        _, form, provider, _ = message.subject.rsplit(".", 3)
        at: dict[str, Any] = {"seq": message.seq, "form": form, "provider": provider, "kept_at": message.recorded_at}
        try:
            taken, more = self._seals.open("dead", provider, message.body)
        except SealBrokenError as error:
            return Letter(**at, reasons=(f"it cannot be opened: {error}",))
        return Letter(
            **at,
            reasons=tuple(more.get("reasons", ())),
            kind=more.get("kind", ""),
            number=more.get("number", 1),
            once=more.get("once"),
            taken=taken,
            closed=more.get("closed", False),
        )


def _hashed(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


async def _next(scan: Any) -> StoredMessage | None:
    message: StoredMessage | None = await anext(scan, None)
    return message
