"""What is derived from views, told on the feed by difference: who came into a pool or left it, whose band changed.

Views change by events and by mere time, in any order, and what once was true may turn out not to have been. So nothing
is told of changes in views; told is how they differ, at one moment, from what the feed has said so far. What it has
said is kept beside the views (`projections.announcing`), as the fold of the feed's own messages. A message is only
published directly behind those that were folded; so neither a crash nor a second node doubles one.

Behind `settled` (see `infra.feed.Place`), what was told agrees with the views of one position at one moment. Whoever
has no fold, and finds the messages removed that it would be made of, computes those views again and begins there.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import duckdb
import structlog
from eventsourcing.persistence import OperationalError

from consumers.relay import Relay
from domain.event import utc_now
from domain.published import Message, text_of
from infra.feed import MOST, Draft, End, Feed, Overtaken, Place, data_of, type_of
from infra.jetstream import RawMessage
from projections import announcing
from projections.announcing import BandMove, Move, Told
from projections.known import Known
from projections.transaction import transaction

EVERY_S = 0.5
WHOLE_EVERY_S = 600.0
"""So often everybody is compared, whatever has changed: what was broken before may count by now."""
LOOK_EVERY_S = 2.0
"""So often it is seen whose time has come, while no event does anything."""
REST = 3
"""A comparison is followed by a pause of so many times its own length at least: others want the machine, too."""
TURN_S = 30.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()

Reading = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


class Announcing:
    """Compares and tells until stopped, while this node's relay is the one that publishes."""

    def __init__(
        self, reading: Reading, known: Callable[[], Known], feed: Feed, relay: Relay, bands_every_s: float
    ) -> None:
        """`reading` gives cursors of the views' file, `known` the views as they were earlier."""
        self._reading = reading
        self._known = known
        self._feed = feed
        self._relay = relay
        self._bands_every_s = bands_every_s
        self._created: str | None = None
        self._compared: tuple[int, datetime] | None = None
        """The position and time of the views that were last compared and told; None to compare everybody."""
        self._whole_at = self._bands_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-announcing")
        self.failure: str | None = None
        """Why nothing is told; None when all is well."""

    def start(self) -> None:
        """Begins with a comparison of everybody."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the round at hand. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait_s = EVERY_S
        while not self._stopping.wait(wait_s):
            began = time.monotonic()
            try:
                self._round()
                self.failure = None
            except (Overtaken, TimeoutError, CancelledError):
                self._compared = None  # others told something meanwhile; who is told of is to be found anew
            except duckdb.ConnectionException:
                self._compared = None  # the file is being opened again
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; `rapport status` shows it
                self._fail(error)
            wait_s = max(EVERY_S, REST * (time.monotonic() - began))

    def _fail(self, error: Exception) -> None:
        said = str(error) if isinstance(error, OperationalError) else type(error).__name__
        reason = f"changes in pools and bands are not told on the feed: {said}"
        if self.failure != reason:
            log.error("nothing announced, trying again", reason=reason)
        self.failure, self._compared = reason, None

    def _round(self) -> None:
        """Tells what differs by now, if anything can. Raises Overtaken, OperationalError, or as DuckDB does."""
        if not self._relay.is_active:
            self._compared = None
            return
        with self._reading() as cursor:
            announcing.prepare(cursor)
            told = self._relay.end.place
            views, at = announcing.views_seq(cursor), utc_now()
            if views < told.views or _us(at) < told.at_us or self._relay.position < views:
                return  # somebody told by newer views than these, or the events themselves are not on the feed yet
            self._catch_up(cursor, told)
            if not self._is_due(views, at):
                return
            if time.monotonic() >= self._whole_at:
                self._compared = None
            bands_due = time.monotonic() >= self._bands_at
            if self._compared is not None and self._compared[0] > views:
                self._compared = None
            with transaction(cursor):  # one state of the views
                views = announcing.views_seq(cursor)
                if self._relay.position < views:
                    return
                persons = self._touched(cursor, views, at)
                moves = announcing.moves(cursor, at, persons) if persons != [] else []
                bands = announcing.band_moves(cursor, at) if bands_due else []
            whole = self._compared is None
            self._tell(cursor, [*moves, *bands], told.derived, views, at, settles=bands_due)
            self._compared = views, at
            if whole:
                self._whole_at = time.monotonic() + WHOLE_EVERY_S
            if bands_due:
                self._bands_at = time.monotonic() + self._bands_every_s

    def _is_due(self, views: int, at: datetime) -> bool:
        return (
            self._compared is None
            or self._compared[0] != views
            or (at - self._compared[1]).total_seconds() >= LOOK_EVERY_S
            or time.monotonic() >= min(self._bands_at, self._whole_at)
        )

    def _touched(self, cursor: duckdb.DuckDBPyConnection, views: int, at: datetime) -> Sequence[str] | None:
        if self._compared is None:
            return None
        after, before = self._compared
        return announcing.touched(cursor, after, views, before, at)

    def _catch_up(self, cursor: duckdb.DuckDBPyConnection, place: Place) -> None:
        """Folds what the feed has said of views behind what is folded. Raises OperationalError."""
        if self._created is None:
            self._created = self._feed.extent().created
        told = announcing.told(cursor)
        if told is None or told.feed != self._created or told.seq > place.derived:
            told = Told(self._created, 0)
            announcing.begin(cursor, told, None, None)
        if told.seq == place.derived:
            return
        self._compared = None
        if told.seq < place.settled and self._feed.extent().first_seq > told.seq + 1:
            told = Told(self._created, place.settled)
            with self._known().of_all(place.settled_views, announcing.VIEWS) as then:
                announcing.begin(cursor, told, then, EPOCH + timedelta(microseconds=place.settled_at_us))
            log.info("what was told is computed again", settled=place.settled)
        if told.seq < place.derived:
            self._fold(cursor, self._feed.derived(told.seq, place.derived), place.derived)

    def _fold(self, cursor: duckdb.DuckDBPyConnection, messages: Sequence[RawMessage], until: int) -> None:
        if not messages or messages[-1].seq != until:
            raise OperationalError(f"the feed does not hand out its message {until} yet")
        said = [(type_of(self._feed.stream, message.subject), data_of(message)) for message in messages]
        announcing.fold(
            cursor,
            until,
            ((data["pool"], data["candidate"], type_[5:]) for type_, data in said if type_.startswith("pool.")),
            ((data["candidate"], data["to"]) for type_, data in said if type_.startswith("engagement.")),
        )

    def _tell(
        self,
        cursor: duckdb.DuckDBPyConnection,
        changes: Sequence[Move | BandMove],
        derived: int,
        views: int,
        at: datetime,
        *,
        settles: bool,
    ) -> None:
        """Publishes the changes behind the derived message that is folded, and folds them. Raises Overtaken."""
        for start in range(0, len(changes), MOST):
            part = changes[start : start + MOST]
            last = settles and start + MOST >= len(changes)
            messages = [_message(change, at) for change in part]
            told = self._relay.say(_saying(messages, derived, views, _us(at), settles=last)).result(TURN_S)
            derived = told.place.derived
            announcing.fold(
                cursor,
                derived,
                ((m.pool_id, m.canonical_id, m.change) for m in part if isinstance(m, Move)),
                ((m.canonical_id, m.band) for m in part if isinstance(m, BandMove)),
            )
            if self._stopping.is_set() and not last:
                raise Overtaken
        if settles:
            self._relay.settle(derived, views, _us(at))


def _saying(
    messages: Sequence[Message], derived: int, views: int, at_us: int, *, settles: bool
) -> Callable[[End, int], list[Draft] | None]:
    """Says these, as long as the last derived message on the feed is `derived`; with the last of them it is settled."""

    def drafts(end: End, position: int) -> list[Draft] | None:
        if end.place.derived != derived or views > position:
            return None
        said = list[Draft]()
        for seq, message in enumerate(messages, end.seq + 1):
            place = end.place._replace(ledger=position, derived=seq, views=views, at_us=at_us)
            if settles and len(said) == len(messages) - 1:
                place = place._replace(settled=seq, settled_views=views, settled_at_us=at_us)
            said.append(Draft(message, place))
        return said

    return drafts


def _message(change: Move | BandMove, at: datetime) -> Message:
    if isinstance(change, BandMove):
        data = {"candidate": change.canonical_id, "from": change.was, "to": change.band, "score": change.score}
        data |= {"model": change.model, "at": text_of(at)}
        return Message("engagement.band_changed", None, change.canonical_id, text_of(at), data)
    since = text_of(change.at.astimezone(UTC))
    data = {"pool": change.pool_id, "candidate": change.canonical_id, "at": since}
    if change.seq is not None:
        data["seq"] = change.seq
    return Message(f"pool.{change.change}", None, change.canonical_id, since, data)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
