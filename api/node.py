"""A node: ledger, views and everything between, in one process, started and stopped as one."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import duckdb
import structlog
from duckdb import DuckDBPyConnection
from eventsourcing.persistence import OperationalError

from api import status
from api.building import Building, Rebuilds
from api.door import Door
from api.erasing import Erasing
from api.failures import LedgerLost, NodeError, ViewsBehind
from api.histories import Histories
from api.intake import Intake
from api.reopening import Reopening
from api.standstill import sentence_of, shortage
from api.views_file import ViewsFile
from consumers.announcing import Announcing
from consumers.delivering import Delivering
from consumers.explaining import Purged
from consumers.loss import contradiction, secrets_lost
from consumers.notary import Notary
from consumers.projecting import Projecting
from consumers.relay import Relay, signed
from domain.candidate import CandidateEvent
from domain.checkpoint import Checkpoint, NoteMalformed
from domain.consent import Standing
from domain.event import Recorded
from domain.identity import Forest
from domain.policy import Channel
from infra import policy_file, tracing
from infra.access_log import AccessLog
from infra.checkpoints import Checkpoints
from infra.crypto.claims import Claims
from infra.crypto.keyring import OWN, keyring_of
from infra.crypto.master import KeysMissing, master_key
from infra.crypto.signing import SigningKey, SigningKeyError, local_signing_key
from infra.deliveries import Deliveries
from infra.erasing import Erasures
from infra.feed import Feed
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.jetstream.access import access
from infra.jetstream.durability import Durability
from infra.jetstream.stream import state
from infra.ledger import Ledger
from infra.metrics import Batches
from infra.nats_server import EmbeddedServer
from infra.pools import Pools
from infra.purging import Purging
from infra.recording import Recording
from infra.settings import Settings
from infra.snapshots import Snapshots
from infra.subscribers import Subscribers
from infra.suppressions import Suppressions
from infra.webhook_secrets import WebhooksRefused
from projections import Projector, mirrored
from projections.computing import Progress, nobody
from projections.publishing import Publisher

_Found = TypeVar("_Found")

__all__ = (
    "SERVER_HINT",
    "LedgerLost",
    "Node",
    "NodeError",
    "ViewsBehind",
    "last_checkpoint",
    "prepare_folder",
    "secret_of",
    "signing_key",
)

VIEWS_WAIT_S = 10.0
ANSWERS_WITHIN_S = 2.0
"""A ledger that takes longer to say where it ends is away, for whoever watches over the node."""
"""How long a command waits for the views to reach what it depends on."""

SERVER_HINT = "if that lasts, look at the nats-server's log and disk; after a full disk it must be restarted"

WITHOUT_KEYS = "until then all that needs a key is refused, nothing is recorded, and the views stay as they are"

log = structlog.get_logger()


class Node:
    """Use as a context manager: entering starts everything, leaving stops it in the opposite order."""

    def __init__(self, settings: Settings, on_progress: Progress = nobody, door: Door | None = None) -> None:
        """`on_progress` is told of views that are built anew, at the start because their definition has changed. The
        `door` is let in once there is somewhere to put deliveries; who made it stops it.
        """
        self.settings = settings
        self.building = Building(on_progress)
        self.rebuilds = Rebuilds(self.building, settings.database)
        self.batches = Batches()
        self.instance = uuid4().hex
        self.server: EmbeddedServer | None = None
        self.door = door
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def projector(self) -> Projector:
        """Of the views' file as it is open now."""
        return self._views.projector

    @property
    def projecting(self) -> Projecting:
        """What keeps those views in step with the ledger."""
        return self._views.projecting

    def ask(self, question: Callable[[DuckDBPyConnection], _Found]) -> _Found:
        """What `question` finds in the views; see `ViewsFile.ask`."""
        return self._views.ask(question)

    def rewrite_views(self) -> None:
        """Writes the views' file anew; see `ViewsFile.rewrite`."""
        self._views.rewrite()

    def _start(self) -> None:
        settings = self.settings
        os.umask(0o077)  # everything a node writes is for its owner only, whatever the folder's mode
        prepare_folder(settings.data)
        self.policy_toml, self.policy = policy_file.read(settings.policy)
        self.policy.require(settings.jurisdiction)
        self._stack.callback(tracing.start())
        self._connect()
        self._views = ViewsFile(settings, self.policy, self.building, self.rebuilds, self.batches)
        self._stack.callback(self._views.close)
        self._check_history()
        self._open_ledger()
        self._start_notary()  # stopped after projecting has: the last checkpoint covers all that it did
        self._views.start(self._projecting_over)
        self._stack.callback(self._views.stop)
        self._stack.callback(self.rebuilds.stop)
        self.reopening = Reopening(self._views.is_shut, self._views.reopen)
        self._stack.callback(self.reopening.stop)
        self.reopening.start()
        self._start_beside()
        self._stack.callback(self.rebuilds.cancel)  # before whoever waits for the part that is being built
        log.info("node started", checkpoint=self.projector.checkpoint, ledger=self.ledger.last_seq())

    def _connect(self) -> None:
        """The server, a connection to it, and the streams of ledger and access log."""
        settings = self.settings
        servers, system = settings.nats_access(), settings.nats_system_access()
        if servers is None:
            self.server = EmbeddedServer(settings.data / "nats", port=settings.nats_port)
            self._stack.enter_context(self.server)
            servers, system = access(self.server.url), access(self.server.system_url)
        self._servers = servers
        connection = Connection(servers)
        self._stack.callback(connection.close)
        self.connection = connection
        self.durability = Durability(system, required=self.server is not None or settings.nats_sync == "asserted")
        self._stack.callback(self.durability.stop)
        self.durability.start(lambda trouble: log.error("durability not asserted", trouble=trouble))
        self.stream = stream = declare_stream(connection, replicas=settings.replicas)
        self.access_log = AccessLog(connection, stream, days=settings.access_log_days)

    def _open_ledger(self) -> None:
        """Keys, and what reads and writes with them. Raises LedgerLost, and MasterKeyError for what is no key."""
        settings, connection, stream = self.settings, self.connection, self.stream
        keys = Bucket(connection, "keys", replicas=settings.replicas)
        own = keys.get_many(OWN)
        self._check_keys(own)
        self.keyring = keyring_of(keys, own, secret_of(settings), settings.master_key_file)
        if self.keyring.missing is not None:
            log.warning("keys missing", reason=self.keyring.missing)
        self.recorder = JetStreamApplicationRecorder(connection, stream)
        self.recorder.gate.look = self._look_again
        snapshots = Snapshots(connection, stream, self.keyring)
        self._stack.callback(snapshots.close)
        self.ledger = Ledger(self.recorder, self.keyring, snapshots)
        self.claims = claims = Claims(Bucket(connection, "claims", replicas=settings.replicas), self.keyring.pepper)
        self._histories = Histories(self.ledger, self._views, self.wait_for)
        self.recording = Recording(self.ledger, claims, self._histories.forest_of)
        self._stack.callback(self.recording.close)
        self.pools = Pools(self.ledger, claims)
        erasures = Bucket(connection, "erasures", replicas=settings.replicas)
        told, purging = self._told_by_mirror, Purging(connection, stream)
        drop = self._drop_letters
        self.erasures = Erasures(erasures, self.ledger, keys, self.keyring, claims, snapshots, told, purging, drop)
        self.erasures.renew()
        self.suppressions = Suppressions(claims, self.erasures)

    def _start_beside(self) -> None:
        """What has time: copies for others, erasures to be finished."""
        self._start_feed()
        self.publisher = Publisher(self._views.cursor, self.settings.snapshot_file, self.settings.snapshot_every_s)
        self._stack.callback(self.publisher.stop)
        self.publisher.start()
        self._start_intake()
        self.erasing = Erasing(self)
        self._stack.callback(self.erasing.stop)
        self.erasing.start()
        self._start_subscribers()

    def _start_subscribers(self) -> None:
        """Who follows the feed: their consumers and logins, and the webhooks of those who have an address."""
        settings, server = self.settings, self.server
        master = master_key(secret_of(settings), settings.master_key_file, self.keyring.master_key_id)
        admit = None if server is None else server.admit
        self.subscribers = Subscribers(self.connection, self.feed, master, settings.replicas, admit)
        for trouble in self.subscribers.settle():
            log.warning("a subscriber has no consumer", reason=trouble)
        self.deliveries = Deliveries(self.connection, self.feed.stream, settings.replicas)
        self.delivering = Delivering(self._servers, self.connection, self.subscribers, self.deliveries)
        self._stack.callback(self.delivering.stop)
        self.delivering.start()

    def _drop_letters(self, identifiers: Iterable[str]) -> None:
        """Deliveries kept that name somebody who is being erased."""
        self.intake.letters.drop_naming(identifiers)

    def _start_intake(self) -> None:
        """Webhooks, stored and waiting. Raises NodeError when it cannot be said whose are taken."""
        settings = self.settings
        master = master_key(secret_of(settings), settings.master_key_file, self.keyring.master_key_id)
        ours = (ViewsBehind, duckdb.Error)
        lend = (lambda _: None) if self.door is None else self.door.lend
        try:
            self.intake = Intake(settings, self.connection, self._servers, master, self.recording, ours, lend=lend)
        except WebhooksRefused as error:
            raise NodeError(str(error)) from error
        self._stack.callback(self.intake.stop)
        if self.door is not None:
            url = None if self.server is None else self.server.door_url
            self.door.begin(url, self.intake.key_of_today_if_any(), self.intake.counted.note)
        self.intake.start()

    def _start_feed(self) -> None:
        """What others are told: the ledger's events, and what is derived from the views."""
        self._stack.callback(self.relay.stop)
        self.relay.start()
        reading, known, every_s = self._views.cursor, lambda: self.projector.known, self.settings.feed_bands_every_s
        self.announcing = Announcing(reading, known, self.feed, self.relay, every_s)
        self._stack.callback(self.announcing.stop)
        self.announcing.start()
        self.acknowledgements = Bucket(self.connection, "acknowledgements", replicas=self.settings.replicas)

    def _start_notary(self) -> None:
        """Who signs checkpoints, and the feed that tells of them. Raises NodeError without a key to sign with."""
        settings, key = self.settings, signing_key(self.settings)
        self.feed = Feed(self.connection, self.stream, settings.feed_url)
        self.relay = Relay(LedgerReader(self.connection, self.stream), self.feed, settings.feed_days)
        notes, every_s = Checkpoints(settings.checkpoints), settings.checkpoint_every_s
        origin = settings.log_origin
        self.notary = Notary(self._views.cursor, self._is_behind, key, notes, origin, every_s, self._tell_signed)
        self._stack.callback(self.notary.stop)
        self.notary.start()

    def _tell_signed(self, note: str, checkpoint: Checkpoint) -> None:
        self.relay.note(signed(note, checkpoint))

    def _is_behind(self) -> bool:
        """Whether the ledger holds more than the mirror, or cannot be asked."""
        try:
            return self.projector.mirrored < self.ledger.last_seq()
        except OperationalError:
            return True

    def _projecting_over(self, projector: Projector) -> Projecting:
        reader = LedgerReader(self.connection, self.stream, Purged(self.connection, self.stream).between)
        return Projecting(reader, projector, self.keyring, self.settings.batch_events, self._forget)

    def _forget(self, candidate_id: str) -> None:
        """Has nothing at hand of somebody who was erased, through whichever node."""
        self.ledger.drop(candidate_id)
        self.claims.forget(candidate_id)

    def _told_by_mirror(self, records: Sequence[str]) -> list[str]:
        """The identifiers that the mirror knows of these records."""
        return self.ask(lambda cursor: mirrored.identifiers_of(cursor, records))

    def _check_history(self) -> None:
        """Refuses to go on where views and ledger contradict each other."""
        with self.projector.cursor() as cursor:
            if trouble := contradiction(self.connection, self.stream, cursor):
                raise LedgerLost(trouble)

    def _look_again(self) -> None:
        """`_check_history` for the recorder, after the connection broke. Raises OperationalError."""
        try:
            self._check_history()
        except LedgerLost as lost:
            raise OperationalError(str(lost)) from lost

    def _check_keys(self, own: dict[str, bytes]) -> None:
        """Refuses to make up keys and claims in place of those that the ledger's events were recorded with."""
        with self.projector.cursor() as cursor:
            if trouble := secrets_lost(self.connection, self.stream, cursor, own):
                raise LedgerLost(trouble)

    def wait_for(self, seq: int, timeout_s: float = VIEWS_WAIT_S) -> None:
        """Returns when the views hold everything up to `seq`.

        Raises ViewsBehind after `timeout_s`; at once when the views stand still.
        """
        if not self._views.reached(seq, timeout_s):
            raise ViewsBehind(
                f"the views stand at event {self.projector.checkpoint}, {seq} was asked for; try again shortly"
            )

    def forest_of(self, candidate_id: str) -> Forest:
        """See `Histories.forest_of`."""
        return self._histories.forest_of(candidate_id)

    def histories(self, candidate_id: str) -> list[list[Recorded[CandidateEvent]]]:
        """See `Histories.histories`."""
        return self._histories.histories(candidate_id)

    def standing(
        self,
        candidate_id: str,
        channel: Channel,
        purpose: str,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> tuple[Standing, datetime]:
        """See `Histories.standing`."""
        return self._histories.standing(candidate_id, channel, purpose, as_of, known_at)

    def unready(self) -> list[str]:
        """Why the node cannot do its work, or not as it should; empty when it can."""
        return self.failures() + self.strains()

    def strains(self) -> list[str]:
        """What makes answers late, or will stop the node: the views far behind the ledger, a disk soon full."""
        found = [shortage(self.settings.data, self.settings.min_free_mb)]
        if self.door is not None and self.keyring.missing is None:  # without keys it has none either
            found.append(self.door.failure)
        with suppress(OperationalError):  # which is a failure of its own
            behind, most = self.last_seq_soon() - self.projector.checkpoint, self.settings.max_behind_events
            if most and behind > most:
                found.append(f"the views are {behind:,} events behind the ledger; they catch up by themselves")
        return [reason for reason in found if reason is not None]

    def failures(self) -> list[str]:
        """What does not work; empty when everything does."""
        reasons = []
        if not self.connection.is_connected:
            reasons.append("no connection to NATS")
        elif (doubt := self._doubt()) is not None:
            reasons.append(doubt)
        if self.keyring.missing is not None:
            reasons.append(f"{self.keyring.missing}: {WITHOUT_KEYS}")
        if self.durability.failure is not None:
            reasons.append(self.durability.failure)
        if self.ledger.failure is not None:
            reasons.append(f"the ledger did not take the last append ({self.ledger.failure}); {SERVER_HINT}")
        failure = self.projecting.failure or self.reopening.failure
        if failure is not None and not isinstance(failure, KeysMissing):
            reasons.append(f"the views stand still: {sentence_of(failure, self.settings.database)}")
        if self.notary.failure is not None:
            reasons.append(self.notary.failure)
        if self.relay.failure is not None:
            reasons.append(f"the feed stands still: {self.relay.failure}")
        if self.erasing.failure is not None:
            reasons.append(self.erasing.failure)
        if self.intake.failure is not None:
            reasons.append(self.intake.failure)
        return reasons or self._silences()

    def _silences(self) -> list[str]:
        """What is not told to subscribers, where nothing else fails that this would follow from."""
        reasons = [] if self.announcing.failure is None else [self.announcing.failure]
        if self.delivering.failure is not None:
            reasons.append(f"webhooks to subscribers wait: {self.delivering.failure}")
        return reasons

    def _doubt(self) -> str | None:
        """What speaks against the ledger now, or since the connection last broke, if anything does."""
        try:
            self.connection.call(self.recorder.gate.passed(), ANSWERS_WITHIN_S)
            self.last_seq_soon()
        except OperationalError as error:
            return str(error)
        return None

    def last_seq_soon(self) -> int:
        """The ledger's last position. Raises OperationalError when NATS does not say so soon."""
        return int(self.connection.call(state(self.connection, self.stream), ANSWERS_WITHIN_S)["last_seq"])

    def status(self) -> dict[str, Any]:
        """What `rapport status` shows."""
        return status.status(self)

    def announce(self, url: str) -> Callable[[], None]:
        """Leaves word in the data folder of where this node answers; returns how to take it back."""
        path = self.settings.node_file
        path.write_text(json.dumps({"url": url, "pid": os.getpid(), "instance": self.instance}) + "\n", "utf-8")
        return lambda: path.unlink(missing_ok=True)


def last_checkpoint(settings: Settings) -> Checkpoint | None:
    """What was last signed over the log of this folder; None when nothing was. Raises NodeError when it is no note.

    To compare with, also where the key is lost: whether it was ours that signed is the notary's to say.
    """
    try:
        note = Checkpoints(settings.checkpoints).last()
        return None if note is None else Checkpoint.of(note.rpartition("\n\n")[0] + "\n")
    except (NoteMalformed, OSError) as error:
        raise NodeError(f"the last checkpoint cannot be read: {error}") from error


def signing_key(settings: Settings) -> SigningKey:
    """The key that checkpoints are signed with, made where there is none yet. Raises NodeError."""
    configured = settings.signing_key.get_secret_value() if settings.signing_key else None
    try:
        return local_signing_key(configured, settings.signing_key_file, signed_before=settings.checkpoints.exists())
    except SigningKeyError as error:
        raise NodeError(str(error)) from error


def prepare_folder(data: Path) -> None:
    """Makes the data folder, for its owner only. Raises NodeError when that is impossible."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NodeError(
            f"the data folder {data} cannot be used: {error.strerror}; choose another with --data"
        ) from None


def secret_of(settings: Settings) -> str | None:
    """The master key as it was set, if it was."""
    return settings.master_key.get_secret_value() if settings.master_key else None
