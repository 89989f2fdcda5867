"""What becomes of deliveries: opened, read by their provider's module, recorded together, or kept with a reason.

Many deliveries make one call of `Recording`, and so share its syncs. Nothing is decided here that is not decided again
when the delivery comes once more: whether a happening is known already is the ledger's to say, by its id.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import orjson
import structlog
from eventsourcing.persistence import DataError, OperationalError

from consumers.keeping import Keeping, Told
from consumers.trying import POISON_ATTEMPTS, UNOPENED_ATTEMPTS, Tries
from consumers.webhooks.delivery import Delivery, Happening, Provider, Unreadable
from domain import errors
from domain.interaction import Interaction, content_id, parse
from infra import tracing
from infra.crypto.sealing import SealBrokenError
from infra.ingest import Queue
from infra.ingest_letters import Letters
from infra.ingest_seals import Taken
from infra.metrics import Deliveries
from infra.recording import Accepted, Duplicate, Outcome, Recording, Rejected

TOGETHER = 500
"""Interactions recorded in one call."""
LONGEST_WAIT_S = 60.0
EARLY_WAIT_S = 900.0
"""The longest that one waits which another delivery may put right."""
AGAIN = frozenset({errors.ConcurrentChange.code})
PERHAPS_EARLY = frozenset({errors.MergeRefused.code, errors.UnresolvedCandidate.code})
"""Refusals that another delivery may put right, such as the coming of whom a merge names."""

log = structlog.get_logger()


_Key = tuple[str, bool]


class Message(NamedTuple):
    """A delivery as it comes from the queue, from its place there; `attempt` counts from 1 how often it has come."""

    provider: str
    stored: bytes
    attempt: int
    seq: int


@dataclass
class _Work(Told):
    """One delivery, and what has come of it so far."""

    message: Message
    failures: int = 1
    """How often it will have failed for reasons of its own, should it do so now."""
    done: bool = False
    wait_s: float | None = None
    failed: bool = False
    early: bool = False
    """Whether it waits for another delivery that it has perhaps overtaken."""
    unkept: str | None = None
    """What keeps it from being kept as a letter."""

    def fail(self, *, early: bool = False) -> None:
        """It comes again, the later the more often it has failed."""
        self.failed, self.early = True, early
        self.wait_s = backoff_s(self.failures, EARLY_WAIT_S if early else LONGEST_WAIT_S)


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
        self._tries = Tries()
        self._keeping = Keeping(letters, recording, counted, self._read)
        self.failure: str | None = None
        """What keeps deliveries waiting; None when nothing does."""

    def settle(self, messages: Sequence[Message]) -> list[float | None]:
        """For each delivery None when it is done with, or after how many seconds it should come again."""
        works = [_Work(message, self._tries.failures(message.seq) + 1) for message in messages]
        failure: str | None = None
        for step in (self._open_all, self._settle_all):
            try:
                step([work for work in works if work.wait_s is None])
            except self._trouble as error:
                # What others' errors say may quote a row.
                failure = str(error) if isinstance(error, OperationalError) else type(error).__name__
                for work in works:
                    work.wait_s = None if work.done else backoff_s(work.message.attempt)
                break
        self._tell(failure or next((work.unkept for work in works if work.unkept), None))
        for work in works:
            if work.failed:
                self._tries.note(work.message.seq, early=work.early)
            if work.wait_s is None:
                self._tries.forget(work.message.seq)
            else:
                self._counted.note(work.message.provider, "retried")
        return [work.wait_s for work in works]

    def _tell(self, failure: str | None) -> None:
        before, self.failure = self.failure, failure
        if failure is not None and before is None:
            log.warning("deliveries wait", reason=failure)

    # ── reading ──

    def _open_all(self, works: Sequence[_Work]) -> None:
        for work in works:
            provider, stored = work.message.provider, work.message.stored
            try:
                work.taken = self._queue.open(provider, stored)
            except SealBrokenError as error:
                if work.failures < UNOPENED_ATTEMPTS:
                    work.fail()
                    continue
                work.reasons.append(f"it cannot be opened: {error}")
                continue
            try:
                work.happenings = self._read(work.taken)
            except Unreadable as error:
                work.reasons.append(f"unreadable: {error}")
            except Exception as error:  # noqa: BLE001 - a fault of ours in reading it; it is the same every time
                work.reasons.append(f"reading it ends in a fault of Rapport ({type(error).__name__})")
                said = {"provider": provider, "correlation": work.taken.correlation}
                log.error("a delivery cannot be read", **said, error=type(error).__name__)
            for happening in work.happenings:
                self._parse(work, happening)

    def _read(self, taken: Taken) -> list[Happening]:
        if taken.records:
            return [Happening(record.get("type", ""), record) for record in orjson.loads(taken.body)]
        provider = self._providers.get(taken.provider)
        if provider is None:
            raise Unreadable("no module of this version reads what this provider sends")
        return provider.read(Delivery(taken.headers, taken.body, taken.received_at))

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

    def _settle_all(self, works: Sequence[_Work]) -> None:
        correlations = (work.taken.correlation for work in works if work.taken is not None)
        with tracing.work("settle", correlations, deliveries=len(works)) as span:
            self._record_all(works)
            self._keep_all([work for work in works if work.wait_s is None])
            span.tally("done" if work.done else "waits" for work in works)

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
            if work.failures < POISON_ATTEMPTS:
                work.fail()
                return
            why = f"recording it ended in a fault of Rapport {work.failures} times ({type(error).__name__})"
            work.refused += [(happening, why) for happening, _ in work.interactions]

    def _record(self, works: Sequence[_Work]) -> None:
        """Nothing is noted of any before all have their outcomes, so that trying again notes nothing twice."""
        wanted = [(work, happening, interaction) for work in works for happening, interaction in work.interactions]
        distinct: dict[_Key, Interaction] = {}
        keys = [(_identity(interaction), _is_untimed(work, interaction)) for work, _, interaction in wanted]
        for key, (_, _, interaction) in zip(keys, wanted, strict=True):
            distinct.setdefault(key, interaction)
        outcomes: dict[_Key, Outcome] = {}
        first = list(distinct)
        for start in range(0, len(first), TOGETHER):
            some = first[start : start + TOGETHER]
            untimed = [is_untimed for _, is_untimed in some]
            answers = self._recording.record([distinct[key] for key in some], facts=True, untimed=untimed)
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
            case Rejected(code=code) if code in PERHAPS_EARLY and self._tries.may_wait(work.message.seq):
                work.fail(early=True)
            case Rejected(code=errors.ErasedCandidate.code):
                work.erased = True
                self._counted.note(provider, "erased")
            case Rejected():
                self._refuse(work, happening, outcome)

    def _refuse(self, work: _Work, happening: Happening, why: Rejected) -> None:
        work.refused.append((happening, f"{why.code}: {why.reason}"))

    # ── keeping ──

    def _keep_all(self, works: Sequence[_Work]) -> None:
        for work in works:
            try:
                self._keep(work)
            except self._trouble:
                raise
            except DataError:
                # The server took it once, so its limit was lowered since; until that is raised, the delivery waits.
                work.unkept = "one is over `max_payload` and cannot be kept as a letter"
            except Exception as error:  # noqa: BLE001 - a fault of ours; it waits, and holds nobody else up
                work.unkept = f"a fault of Rapport in keeping one as a letter ({type(error).__name__})"
            else:
                work.done = True
                continue
            work.wait_s = LONGEST_WAIT_S

    def _keep(self, work: _Work) -> None:
        if work.taken is not None:
            self._keeping.keep(work, work.taken, work.message.seq)
            return
        log.warning("a delivery that cannot be opened is kept as a dead letter", provider=work.message.provider)
        message = work.message
        once = f"{message.seq}|{sha256(message.stored).hexdigest()}"
        self._letters.add_closed(message.provider, message.stored, work.reasons[0], once)
        self._counted.note(work.message.provider, "dead")


def backoff_s(attempt: int, longest_s: float = LONGEST_WAIT_S) -> float:
    """How long a delivery waits after so many attempts: 1, 2, 4, … seconds, up to the longest."""
    return min(longest_s, 2.0 ** min(attempt - 1, 20))


def _is_untimed(work: _Work, interaction: Interaction) -> bool:
    """Whether the provider gave no time, so that it is when the delivery came."""
    return work.taken is not None and interaction.occurred_at == work.taken.received_at


def _identity(interaction: Interaction) -> str:
    """What tells an interaction from any other of the same batch, whichever delivery brought it."""
    return content_id(interaction.model_dump(mode="python", exclude={"correlation"}))


Settle = Callable[[Sequence[Message]], list[float | None]]
