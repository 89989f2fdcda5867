"""A data subject's request (Art. 15 to 21 GDPR): until when it has to be answered, and what may become of it.

It is answered without undue delay and at the latest one month after it came in; two more months where that is
needed, if the person is told why within the first (Art. 12(3)). A month ends on the day of the same number, or on the
last day where the month has none such (Regulation 1182/71, Art. 3(2)(c)), at the end of that day in UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

from domain.errors import RequestRefused
from domain.policy import RequestKind

ANSWER_WITHIN_MONTHS = 1
EXTENDED_BY_MONTHS = 2


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a person, by the id of the matter."""

    id: str
    asks_for: RequestKind
    received_at: datetime
    extended: bool = False
    closed: bool = False

    @property
    def due_at(self) -> datetime:
        """Until when it has to be answered."""
        return due_at(self.received_at, extended=self.extended)


def due_at(received_at: datetime, *, extended: bool = False) -> datetime:
    """Until when a request that came in at `received_at` has to be answered: the midnight (UTC) that ends the day."""
    received_at = received_at.astimezone(UTC)
    months = received_at.month - 1 + ANSWER_WITHIN_MONTHS + (EXTENDED_BY_MONTHS if extended else 0)
    year, month = received_at.year + months // 12, months % 12 + 1
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    last_day = (after - timedelta(days=1)).day
    day = min(received_at.day, last_day)
    return datetime.combine(datetime(year, month, day, tzinfo=UTC), time(), UTC) + timedelta(days=1)


def extended(requests: Iterable[Request], id_: str, at: datetime) -> tuple[Request, ...]:
    """The requests, one of them with its time extended, if the person was told `at` a time when it was not over."""
    return tuple(replace(r, extended=True) if r.id == id_ and at < due_at(r.received_at) else r for r in requests)


def closed(requests: Iterable[Request], id_: str) -> tuple[Request, ...]:
    """The requests, one of them closed."""
    return tuple(replace(r, closed=True) if r.id == id_ else r for r in requests)


def check_received(requests: Iterable[Request], id_: str) -> None:
    """Raises RequestRefused when there was a request of this id already."""
    if any(r.id == id_ for r in requests):
        raise RequestRefused("data.request: there is a request of this id already")


def check_open(requests: Iterable[Request], id_: str) -> Request:
    """The open request of this id. Raises RequestRefused."""
    for request in requests:
        if request.id == id_:
            if request.closed:
                raise RequestRefused("data.request: this request is closed")
            return request
    raise RequestRefused("data.request: this record has no request of this id")


def check_extended(requests: Iterable[Request], id_: str, at: datetime) -> None:
    """Raises RequestRefused when the request may not be given more time, of which the person is told `at` a time."""
    request = check_open(requests, id_)
    if request.extended:
        raise RequestRefused("data.request: its time was extended before, which the law allows once (Art. 12(3) GDPR)")
    if at >= request.due_at:
        raise RequestRefused(
            "data.request: the person has to be told of an extension within the first month (Art. 12(3) GDPR), which "
            f"ended on {request.due_at.date()} at 00:00 UTC; if they were told in time, say when"
        )
