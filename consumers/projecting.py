"""From the ledger into the views: follow, open, apply, in order, on a thread of its own."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import structlog
from eventsourcing.persistence import OperationalError

from consumers.loss import shown
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import Follower, LedgerReader, RawMessage
from infra.jetstream.message import is_version
from projections import Projector, mirrored
from projections.mirror import BATCH_SCHEMA
from projections.mirrored import Gap

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETRY_AFTER_S = 1.0

log = structlog.get_logger()


class HistoryHole(Exception):
    """The ledger passed over a seq of which it is not known that nothing is there."""


def table_of(messages: Sequence[RawMessage], keyring: Keyring) -> pa.Table:
    """The messages as the projector takes them: fields as the newest version of each type has them, `v` and `body` as
    stored. What cannot be used carries its `problem` and stays in.
    """
    keys = keyring.existing({_name(m) for m in messages})
    return pa.Table.from_pylist([_row(m, _document(m.body), keys.get(_name(m))) for m in messages], schema=BATCH_SCHEMA)


def _name(message: RawMessage) -> str:
    """The aggregate under whose subject the message stands, whatever the message says."""
    kind, _, id_ = ["", "", *message.subject.split(".")][-3:]
    return codec.aggregate_id(kind, id_)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _row(message: RawMessage, document: dict[str, Any], key: bytes | None) -> dict[str, Any]:
    name = _name(message)
    kind, id_ = codec.split_id(name)
    version, type_ = document.get("version", 0), document.get("type", "")
    fits = is_version(version) and isinstance(type_, str)
    row = {
        "seq": message.seq,
        "recorded_at": EPOCH + timedelta(microseconds=message.time_ns // 1000),
        "kind": kind,
        "id": id_,
        "version": version if fits else 0,
        "type": type_ if fits else "",
        "v": 0,
        "public": "{}",
        "body": message.body,
    }
    try:
        if document.get("id") != name or not fits:
            raise UnknownEventError("it is not an event of the aggregate under whose subject it stands")
        opened = codec.open_newest(name, version, type_, document.get("state", {}), key)
        row["v"] = opened.v
        row["occurred_at"] = datetime.fromisoformat(opened.clear.pop("occurred_at"))
    except (UnknownEventError, SealBrokenError, KeyError, TypeError, ValueError) as error:
        return row | {"problem": f"{type(error).__name__}: {error}"}
    row["public"] = orjson.dumps(opened.clear).decode()
    row["personal"] = orjson.dumps(opened.personal).decode() if opened.personal is not None else None
    return row


class Projecting:
    """Keeps the views in step with the ledger until stopped. `failure` says what stopped it, if anything did."""

    def __init__(self, reader: LedgerReader, projector: Projector, keyring: Keyring, batch_events: int) -> None:
        self._reader = reader
        self._projector = projector
        self._keyring = keyring
        self._batch_events = batch_events
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-projecting")
        self._follower: Follower | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begins where the views' checkpoint stands."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch at hand. Safe to call twice."""
        self._stopping.set()
        if self._follower is not None:
            self._follower.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; readiness reports it
            self.failure = error
            log.error("projecting stopped", error=type(error).__name__)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._reader.follow(self._projector.checkpoint, max_batch=self._batch_events) as self._follower:
                    for batch in self._follower:
                        if self._stopping.is_set():
                            return
                        if batch:
                            self._apply(batch)
                            self.failure = None
            except OperationalError as error:
                log.warning("ledger out of reach, trying again", error=type(error).__name__)
                self._stopping.wait(RETRY_AFTER_S)
            except (duckdb.Error, HistoryHole) as error:
                # A full disk, as a rule: nothing of the batch was kept, and it is tried until there is room.
                self.failure = error
                log.error("views stand still, trying again", error=type(error).__name__, reason=_first_line(error))
                self._stopping.wait(RETRY_AFTER_S)

    def _apply(self, batch: Sequence[RawMessage]) -> None:
        """Up to where the ledger passes over a seq: what a server cannot read, it leaves out. Raises HistoryHole."""
        usable, hole = self._up_to_hole(batch)
        if usable:
            self._projector.apply(table_of(usable, self._keyring))
        if hole is not None:
            raise HistoryHole(
                f"the ledger does not hand out what it took ({shown([hole])}); see `rapport verify` before anything is "
                "restarted"
            )

    def _up_to_hole(self, batch: Sequence[RawMessage]) -> tuple[Sequence[RawMessage], Gap | None]:
        """What follows without a hole that is not known, and the hole."""
        position = self._projector.checkpoint
        if batch[-1].seq - position == len(batch):
            return batch, None
        with self._projector.cursor() as cursor:
            known = mirrored.known_gaps(cursor)
        for count, message in enumerate(batch):
            passed = [(position + 1, message.seq - 1)] if message.seq > position + 1 else []
            if holes := mirrored.unknown_gaps(passed, known):
                return batch[:count], holes[0]
            position = max(position, message.seq)
        return batch, None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
