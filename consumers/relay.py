"""From the ledger onto the feed: every candidate event, in ledger order, once, whatever ends in between.

One thread a node publishes, each time against the feed's end as it knows it. Where another writer came first, and where
nobody can say how it ended, it looks where the feed ends and goes on from there: what is published of an event follows
from the event alone, so there is nothing to remember but the place, and that stands in the feed's last message. Of
several nodes on one ledger one relays; the others stand by until the feed stands still.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256

import orjson
import structlog
from eventsourcing.persistence import OperationalError

from domain import candidate
from domain.checkpoint import Checkpoint
from domain.event import utc_now
from domain.published import Fact, Message, messages, text_of
from domain.upcasters import UnknownEventError
from infra import codec, tracing
from infra.feed import MOST, Draft, End, Feed, Overtaken, Place
from infra.jetstream import Follower, LedgerReader, RawMessage
from infra.jetstream.message import is_version
from infra.jetstream.stream import recorded_at

PAGE_EVENTS = 1_000
IDLE_S = 0.2
"""How long what others want to say waits at most for its turn."""
RETRY_AFTER_S = 1.0
STAND_BY_S = 0.5
RETAIN_EVERY_S = 3_600.0
MOST_NOTES = 100

log = structlog.get_logger()

Say = Callable[[End, int], Sequence[Draft] | None]
"""What is to be said at this end of the feed, with the ledger position that is relayed by now: up to `MOST` messages.

None: it does not fit there any more.
"""


class Relay:
    """Keeps the feed in step with the ledger until stopped, and says what else is to be said on it."""

    def __init__(self, reader: LedgerReader, feed: Feed, days: int) -> None:
        """What was published longer than `days` ago is removed, now and every hour; 0 keeps everything."""
        self._reader = reader
        self._feed = feed
        self._days = days
        self._retain_at = time.monotonic()
        self._end = End(0, Place())
        self._turns: deque[tuple[Say, Future[End]]] = deque()
        self._notes: deque[Message] = deque(maxlen=MOST_NOTES)
        self._settled: tuple[int, int, int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-relay")
        self._follower: Follower | None = None
        self.is_active = False
        """Whether this node relays; else another one does, or something is in the way."""
        self.position = 0
        """The ledger position up to which everything is on the feed, as far as this node knows."""
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the feed stands still; None when it does not."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set():
            return "what relays to it has ended; start the node again"
        return self._failure

    @property
    def end(self) -> End:
        """Where the feed ended when this node last looked, or published."""
        return self._end

    def start(self) -> None:
        """Begins where the feed ends."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch at hand. Safe to call twice."""
        self._stopping.set()
        if self._follower is not None:
            self._follower.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._pause()

    def say(self, what: Say) -> Future[End]:
        """Says it between two events, all or none; where the feed ends then.

        The future fails with Overtaken when it does not fit there any more and while this node does not relay, or as
        `Feed.append` does.
        """
        turn: Future[End] = Future()
        self._turns.append((what, turn))
        if not self.is_active:
            self._refuse_turns()
        return turn

    def settle(self, derived: int, views: int, at_us: int) -> None:
        """By its message `derived`, if that is the last of its kind, the feed agrees with these views of that time.

        What is published from now on says so.
        """
        self._settled = derived, views, at_us

    def note(self, checkpoint: Message) -> None:
        """Says it as soon as possible, unless this process ends before that, or the feed has told of as much already.

        Every node signs checkpoints of its own, each time that it starts too: of all that are offered only those of
        more events than the last one on the feed are told. `checkpoint` is as `signed` makes it.
        """
        self._notes.append(checkpoint)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._relay_or_stand_by()
            except OperationalError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; readiness reports it
                self._fail(f"a fault in Rapport: {type(error).__name__}")

    def _relay_or_stand_by(self) -> None:
        try:
            self._relay()
        except Overtaken:
            self._stand_by()

    def _fail(self, reason: str) -> None:
        self._pause()
        if self._stopping.is_set():
            return
        before, self._failure = self._failure, reason
        if before != reason:
            with suppress(OSError, ValueError):  # a log that nobody takes any more must not end the feed
                log.error("feed stands still, trying again", reason=reason)
        self._stopping.wait(RETRY_AFTER_S)

    def _pause(self) -> None:
        self.is_active = False
        self._refuse_turns()

    def _stand_by(self) -> None:
        """Returns when the feed stands still for a while."""
        self._pause()
        seen: End | None = None
        while not self._stopping.wait(STAND_BY_S):
            try:
                self._end = self._feed.end()
            except OperationalError:
                return
            self.position = max(self.position, self._end.place.ledger)
            if self._end == seen:
                return
            seen = self._end

    def _relay(self) -> None:
        """From where the feed ends, until stopped. Raises Overtaken, OperationalError."""
        self._end = self._feed.end()
        position, last = self._end.place.ledger, self._reader.last_seq()
        if position > last:
            raise OperationalError(
                f"the feed has come to event {position}, and the ledger ends at {last}: it has lost events; `rapport "
                "verify` names them"
            )
        self.position = position
        with self._reader.follow(position, max_batch=PAGE_EVENTS, max_wait_s=IDLE_S) as self._follower:
            self.is_active = True
            for batch in self._follower:
                if self._stopping.is_set():
                    return
                self._publish(batch)
                self._give_turns()
                self._retain()
                self._failure = None

    def _publish(self, batch: Sequence[RawMessage]) -> None:
        for drafts in _in_appends(batch, self._end.place):
            correlations = (draft.message.data.get("correlation") for draft in drafts)
            with tracing.work("relay", correlations, messages=len(drafts)):
                self._end = self._feed.append(drafts, self._end)
            self.position = self._end.place.ledger
        if batch:
            self.position = batch[-1].seq

    def _give_turns(self) -> None:
        """Lets others say what they have to say. Raises Overtaken, OperationalError, upon telling them."""
        while (found := self._next_turn()) is not None:
            say, turn = found
            try:
                drafts = say(self._end, self.position)
                if drafts is None:
                    turn.set_exception(Overtaken())
                    continue
                if drafts:
                    self._end = self._feed.append(drafts, self._end)
                turn.set_result(self._end)
            except BaseException as error:
                turn.set_exception(error)
                raise
        self._take_settled()
        while self._notes:
            note = self._notes[0]
            last = self._feed.last_said(note.type)
            if last is None or note.data["size"] > last["size"]:
                place = _at(self._end.place, self.position)
                self._end = self._feed.append([Draft(note, place)], self._end)
            self._notes.popleft()

    def _take_settled(self) -> None:
        settled, self._settled = self._settled, None
        if settled is not None and settled[0] == self._end.place.derived:
            derived, views, at_us = settled
            place = self._end.place._replace(settled=derived, settled_views=views, settled_at_us=at_us)
            self._end = End(self._end.seq, place)

    def _refuse_turns(self) -> None:
        while (found := self._next_turn()) is not None:
            found[1].set_exception(Overtaken())

    def _next_turn(self) -> tuple[Say, Future[End]] | None:
        """One that is still wanted; each is handed out once, whichever threads ask."""
        while True:
            try:
                say, turn = self._turns.popleft()
            except IndexError:
                return None
            if turn.set_running_or_notify_cancel():
                return say, turn

    def _retain(self) -> None:
        if not self._days or time.monotonic() < self._retain_at:
            return
        self._retain_at = time.monotonic() + RETAIN_EVERY_S
        if removed := self._feed.retain(utc_now() - timedelta(days=self._days)):
            log.info("feed shortened", removed=removed)


def signed(note: str, checkpoint: Checkpoint) -> Message:
    """What the feed says of a signed checkpoint."""
    data = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(), "note": note}
    id_ = f"checkpoint/{sha256(note.encode()).hexdigest()[:32]}"
    return Message("compliance.checkpoint", id_, checkpoint.origin, text_of(utc_now()), data)


def _at(place: Place, ledger: int) -> Place:
    return place._replace(ledger=ledger)


def _in_appends(batch: Sequence[RawMessage], place: Place) -> Iterator[list[Draft]]:
    """What is published of these events, in parts that are stored together; of one event all is in one part."""
    part: list[Draft] = []
    for message in batch:
        if (fact := fact_of(message)) is None:
            continue
        said = [Draft(told, _at(place, message.seq)) for told in messages(fact)]
        if len(part) + len(said) > MOST:
            yield part
            part = []
        part += said
    if part:
        yield part


def fact_of(message: RawMessage) -> Fact | None:
    """A candidate's event without its personal half, for which no key is needed; None of anything else.

    What cannot be read has no fields.
    """
    kind, _, id_ = ["", "", *message.subject.split(".")][-3:]
    if kind != candidate.KIND:
        return None
    version, type_, fields = 0, "", None
    try:
        document = orjson.loads(message.body)
        if not is_version(document["version"]) or not isinstance(document["type"], str):
            raise UnknownEventError("not an event")
        version = document["version"]
        name = codec.aggregate_id(kind, id_)
        if document["id"] != name:
            raise UnknownEventError("an event of another record")
        opened = codec.open_newest(name, version, document["type"], document["state"], None)
        if isinstance(opened.clear["occurred_at"], str):
            type_, fields = document["type"], opened.clear
    except (ValueError, KeyError, TypeError):  # among them UnknownEventError
        pass
    return Fact(id_, version, message.seq, type_, recorded_at(message.time_ns), fields)
