"""What one append is going to send, worked out before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from eventsourcing.persistence import DataError, IntegrityError, StoredEvent

from infra.jetstream.batch import MOST
from infra.jetstream.message import encode
from infra.jetstream.subjects import subject_of


class Conflict(IntegrityError):
    """Somebody else's events stand where these should go. `subjects` are the ones known to be in conflict."""

    def __init__(self, message: str, subjects: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.subjects = subjects


@dataclass
class Run:
    """One aggregate's part of an append: versions without holes, and where they stand in it."""

    subject: str
    first: int
    last: int
    positions: list[int] = field(default_factory=list)


@dataclass
class Plan:
    """Messages in the order they will have in the ledger, and the runs they form."""

    messages: list[tuple[str, bytes]]
    runs: dict[str, Run]

    def __len__(self) -> int:
        return len(self.messages)

    def extend(self, other: Plan) -> bool:
        """Appends another plan and says True, or says False and changes nothing if a run would not be continued."""
        for subject, run in other.runs.items():
            if subject in self.runs and self.runs[subject].last + 1 != run.first:
                return False
        offset = len(self.messages)
        self.messages.extend(other.messages)
        for subject, run in other.runs.items():
            mine = self.runs.setdefault(subject, Run(subject, run.first, run.last))
            mine.last = run.last
            mine.positions.extend(position + offset for position in run.positions)
        return True


def plan(prefix: str, events: Sequence[StoredEvent], max_payload: int, *, gaps: bool = False) -> Plan:
    """The plan of one append.

    Raises DataError for more events than one atomic append can hold and for an event over `max_payload`, and
    IntegrityError when an aggregate's versions do not follow one another (with `gaps`, when they do not rise).
    """
    if len(events) > MOST:
        raise DataError(f"an atomic append takes at most {MOST:,} events, this one has {len(events):,}; split it")
    made = Plan([], {})
    for position, event in enumerate(events):
        subject = subject_of(prefix, event.originator_id)
        version = event.originator_version
        run = made.runs.get(subject)
        if run is None:
            run = made.runs[subject] = Run(subject, version, version)
        elif version == run.last + 1 or (gaps and version > run.last):
            run.last = version
        else:
            raise Conflict(
                f"version {version} of {event.originator_id} cannot follow version {run.last} in one append",
                frozenset((subject,)),
            )
        run.positions.append(position)
        body = encode(event)
        # 200 bytes is more than the protocol headers of a batch take.
        if len(body) + 200 > max_payload:
            raise DataError(
                f"version {version} of {event.originator_id} takes {len(body):,} bytes, "
                f"over the server's limit of {max_payload:,} for a message"
            )
        made.messages.append((subject, body))
    return made
