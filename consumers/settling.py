"""What becomes of deliveries: opened, read by their provider's module, recorded together, or kept with a reason.

Many deliveries make one call of `Recording`, and so share its syncs. Nothing is decided here that is not decided again
when the delivery comes once more: whether a happening is known already is the ledger's to say, by its id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import orjson
import structlog
from eventsourcing.persistence import DataError, OperationalError

from consumers.webhooks.addresses import addresses_in
from consumers.webhooks.delivery import Delivery, Happening, Provider, Unreadable
from domain import errors
from domain.interaction import Interaction, content_id, parse
from infra.crypto.sealing import SealBrokenError
from infra.ingest import Queue, Taken
from infra.ingest_letters import Letters
from infra.metrics import Deliveries
from infra.recording import Accepted, Duplicate, Outcome, Recording, Rejected

TOGETHER = 500
"""Interactions recorded in one call."""
POISON_ATTEMPTS = 5
"""So often is a delivery tried that seems to be what breaks us; trouble of ours is waited for as long as it lasts."""
UNOPENED_ATTEMPTS = 8
"""So often, over two minutes, is a delivery tried that cannot be opened: a key may be on its way to this server."""
LONGEST_WAIT_S = 60.0
AGAIN = frozenset({errors.ConcurrentChange.code})
PERHAPS_EARLY = frozenset({errors.MergeRefused.code, errors.UnresolvedCandidate.code})
"""Refusals that another delivery may put right, such as the coming of whom a merge names; tried as often as poison."""

log = structlog.get_logger()


_Key = tuple[str, datetime | None]


class Message(NamedTuple):
    """A delivery as it comes from the queue; `attempt` counts from 1."""

    provider: str
    stored: bytes
    attempt: int


@dataclass
class _Work:
    """One delivery, and what has come of it so far."""

    message: Message
    taken: Taken | None = None
    happenings: list[Happening] = field(default_factory=list)
    interactions: list[tuple[Happening, Interaction]] = field(default_factory=list)
    refused: list[tuple[Happening, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    erased: bool = False
    done: bool = False
    wait_s: float | None = None

    @property
    def unknown(self) -> list[str]:
        """The kinds in it that nobody knows."""
        heard = (h for h in self.happenings if h.record is None and not h.known)
        return list(dict.fromkeys(happening.kind for happening in heard))

    @property
    def all_reasons(self) -> list[str]:
        """Why it is kept, each once."""
        return [*self.reasons, *dict.fromkeys(reason for _, reason in self.refused)]


class Settling:
    """Settles deliveries of one ledger. Any exception of the types in `trouble` is ours, and no delivery's fault."""

    def __init__(
        self,
        queue: Queue,
        letters: Letters,
        recording: Recording,
        providers: Mapping[str, Provider],
        counted: Deliveries,
        trouble: tuple[type[Exception], ...] = (),
    ) -> None:
        self._queue = queue
        self._letters = letters
        self._recording = recording
        self._providers = providers
        self._counted = counted
        self._trouble: tuple[type[Exception], ...] = (OperationalError, *trouble)
        self.failure: str | None = None
        """What keeps deliveries waiting; None when nothing does."""

    def settle(self, messages: Sequence[Message]) -> list[float | None]:
        """For each delivery None when it is done with, or after how many seconds it should come again."""
        works = [_Work(message) for message in messages]
        failure: str | None = None
        for step in (self._open_all, self._record_all, self._keep_all):
            try:
                step([work for work in works if work.wait_s is None])
            except self._trouble as error:
                # What others' errors say may quote a row.
                failure = str(error) if isinstance(error, OperationalError) else type(error).__name__
                for work in works:
                    work.wait_s = None if work.done else backoff_s(work.message.attempt)
                break
        if failure is not None and self.failure is None:
            log.warning("deliveries wait", reason=failure)
        self.failure = failure
        for work in works:
            if work.wait_s is not None:
                self._counted.note(work.message.provider, "retried")
        return [work.wait_s for work in works]

    # ── reading ──

    def _open_all(self, works: Sequence[_Work]) -> None:
        for work in works:
            provider, stored, _ = work.message
            try:
                work.taken = self._queue.open(provider, stored)
            except SealBrokenError as error:
                if work.message.attempt < UNOPENED_ATTEMPTS:
                    work.wait_s = backoff_s(work.message.attempt)
                    continue
                work.reasons.append(f"it cannot be opened: {error}")
                continue
            try:
                work.happenings = self._read(work.taken)
            except Unreadable as error:
                work.reasons.append(f"unreadable: {error}")
            except Exception as error:  # noqa: BLE001 - a fault of ours in reading it; it is the same every time
                work.reasons.append(f"reading it ends in a fault of Rapport ({type(error).__name__})")
                log.error("a delivery cannot be read", provider=provider, error=type(error).__name__)
            for happening in work.happenings:
                self._parse(work, happening)

    def _read(self, taken: Taken) -> list[Happening]:
        if taken.records:
            return [Happening(record.get("type", ""), record) for record in orjson.loads(taken.body)]
        provider = self._providers.get(taken.provider)
        if provider is None:
            raise Unreadable("no module of this version reads what this provider sends")
        return provider.read(Delivery(taken.headers, taken.body, taken.received_at, again_at=taken.again_at))

    def _parse(self, work: _Work, happening: Happening) -> None:
        if happening.unreadable is not None:
            work.reasons.append(f"unreadable: {happening.unreadable}")
            return
        if happening.record is None:
            if happening.known:
                self._counted.note(work.message.provider, "left")
            return
        try:
            found = parse(happening.record)
            if found.correlation is None and work.taken is not None:
                found = found.model_copy(update={"correlation": work.taken.correlation})
            work.interactions.append((happening, found))
        except errors.InvalidInteraction as error:
            self._refuse(work, happening, Rejected(error.code, str(error)))

    # ── recording ──

    def _record_all(self, works: Sequence[_Work]) -> None:
        try:
            self._record(works)
        except self._trouble:
            raise
        except Exception as error:  # noqa: BLE001 - somebody among them breaks us: each for itself
            log.error("deliveries cannot be recorded together", error=type(error).__name__, count=len(works))
            for work in works:
                self._record_alone(work)

    def _record_alone(self, work: _Work) -> None:
        try:
            self._record([work])
        except self._trouble:
            raise
        except Exception as error:  # noqa: BLE001 - it may be poison, or us; time tells
            if work.message.attempt < POISON_ATTEMPTS:
                work.wait_s = backoff_s(work.message.attempt)
            else:
                work.reasons.append(
                    f"recording it ended in a fault of Rapport {work.message.attempt} times ({type(error).__name__})"
                )

    def _record(self, works: Sequence[_Work]) -> None:
        """Nothing is noted of any before all have their outcomes, so that trying again notes nothing twice."""
        wanted = [(work, happening, interaction) for work in works for happening, interaction in work.interactions]
        distinct: dict[_Key, Interaction] = {}
        keys = [(_identity(interaction), happening.again_at) for _, happening, interaction in wanted]
        for key, (_, _, interaction) in zip(keys, wanted, strict=True):
            distinct.setdefault(key, interaction)
        outcomes: dict[_Key, Outcome] = {}
        first = list(distinct)
        for start in range(0, len(first), TOGETHER):
            some = first[start : start + TOGETHER]
            again_at = [at for _, at in some]
            answers = self._recording.record([distinct[key] for key in some], facts=True, again_at=again_at)
            outcomes |= zip(some, answers, strict=True)
        seen = Counter[_Key]()
        for key, (work, happening, _) in zip(keys, wanted, strict=True):
            self._note(work, happening, outcomes[key], again=seen[key] > 0)
            seen[key] += 1

    def _note(self, work: _Work, happening: Happening, outcome: Outcome, *, again: bool) -> None:
        provider = work.message.provider
        match outcome:
            case Accepted():
                self._counted.note(provider, "duplicate" if again else "accepted")
            case Duplicate():
                self._counted.note(provider, "duplicate")
            case Rejected(code=code) if code in AGAIN:
                work.wait_s = backoff_s(work.message.attempt)
            case Rejected(code=code) if code in PERHAPS_EARLY and work.message.attempt < POISON_ATTEMPTS:
                work.wait_s = backoff_s(work.message.attempt)
            case Rejected(code=errors.ErasedCandidate.code):
                work.erased = True
                self._counted.note(provider, "erased")
            case Rejected():
                self._refuse(work, happening, outcome)

    def _refuse(self, work: _Work, happening: Happening, why: Rejected) -> None:
        work.refused.append((happening, f"{why.code}: {why.reason}"))

    # ── keeping ──

    def _keep_all(self, works: Sequence[_Work]) -> None:
        self._look_for_the_erased([work for work in works if work.refused or work.reasons or work.unknown])
        for work in works:
            provider = work.message.provider
            try:
                self._keep(work)
            except DataError:
                # The server took it once, so its limit was lowered since; until that is raised, the delivery waits.
                log.error("a delivery is over max_payload and cannot be kept as a letter", provider=provider)
                work.wait_s = LONGEST_WAIT_S
                continue
            self._counted.note(provider, "dead", len(work.refused) + len(work.reasons))
            self._counted.note(provider, "unknown", len(work.unknown))
            work.done = True

    def _keep(self, work: _Work) -> None:
        if work.taken is None:
            self._letters.add_closed(work.message.provider, work.message.stored, work.reasons[0])
            return
        if work.refused or (work.reasons and not work.erased):
            taken = _without_the_erased(work, work.taken)
            try:
                self._letters.add(taken, work.all_reasons)
            except DataError:  # its reasons are longer than what the queue had in their place
                self._letters.add(
                    replace(taken, headers={}), [work.all_reasons[0], "and more, for which there is no room"]
                )
        if not work.erased:
            for kind in work.unknown:
                self._letters.add_unknown(work.taken, kind)

    def _look_for_the_erased(self, works: Sequence[_Work]) -> None:
        """Nothing is kept of a delivery in which an address of somebody erased stands, wherever that is, except for the
        refused records of others."""
        named = [addresses_in(work.taken.body) if work.taken is not None else {} for work in works]
        identifiers = {identifier for found in named for identifier in found.values()}
        if not identifiers or not (gone := self._recording.erased_among(identifiers)):
            return
        for work, found in zip(works, named, strict=True):
            theirs = {text for text, identifier in found.items() if identifier in gone}
            if theirs and not work.erased:
                work.erased = True
                self._counted.note(work.message.provider, "erased")
            if theirs:
                work.refused = [one for one in work.refused if not _names(one[0], theirs)]


def backoff_s(attempt: int) -> float:
    """How long a delivery waits after so many attempts: 1, 2, 4, … seconds, a minute at most."""
    return min(LONGEST_WAIT_S, 2.0 ** min(attempt - 1, 20))


def _identity(interaction: Interaction) -> str:
    """What tells an interaction from any other of the same batch, whichever delivery brought it."""
    return content_id(interaction.model_dump(mode="python", exclude={"correlation"}))


def _names(happening: Happening, texts: Iterable[str]) -> bool:
    """Whether one of the texts stands in what is told."""
    return not addresses_in(orjson.dumps(happening.record, default=str)).keys().isdisjoint(texts)


def _without_the_erased(work: _Work, taken: Taken) -> Taken:
    """What is kept of a delivery: all, unless it is about somebody erased too; then the refused records alone."""
    if not work.erased:
        return taken
    body = orjson.dumps([happening.record for happening, _ in work.refused], default=str)
    return Taken(taken.provider, taken.received_at, {}, body, records=True, correlation=taken.correlation)


Settle = Callable[[Sequence[Message]], list[float | None]]
