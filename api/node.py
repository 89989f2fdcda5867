"""A node: ledger, views and everything between, in one process, started and stopped as one."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from threading import RLock
from time import sleep
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import duckdb
import structlog
from eventsourcing.persistence import OperationalError

from api import status
from api.building import Building, Rebuilds
from api.erasing import Erasing
from api.reopening import Reopening, Replacing, is_shut
from api.standstill import is_full, sentence_of
from consumers.loss import contradiction, secrets_lost
from consumers.notary import Notary
from consumers.projecting import Projecting
from domain import candidate
from domain.candidate import Candidate, CandidateEvent
from domain.checkpoint import Checkpoint, NoteMalformed
from domain.consent import Standing, standing
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import Recorded
from domain.identity import Forest
from domain.policy import Channel
from domain.trail import standing_known_at
from infra import codec, policy_file
from infra.access_log import AccessLog
from infra.checkpoints import Checkpoints
from infra.crypto.claims import Claims
from infra.crypto.keyring import GIVEN_UP, PEPPER, Keyring
from infra.crypto.master import key_id_of, local_master_key
from infra.crypto.signing import SigningKey, SigningKeyError, local_signing_key
from infra.duckdb import DatabaseUnreadable, open_database
from infra.erasing import Erasures
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.jetstream.access import access
from infra.jetstream.durability import Durability
from infra.ledger import Ledger
from infra.metrics import Batches
from infra.nats_server import EmbeddedServer
from infra.pools import Pools
from infra.recording import Recording
from infra.settings import Settings
from infra.snapshots import Snapshots
from projections import MirrorOutdated, Projector, ViewRefused, mirrored, queries
from projections.compliance_policy import with_policy
from projections.computing import Progress, nobody
from projections.publishing import Publisher
from projections.registry import VIEWS, discover

DRAIN_S, DRAIN_TRIES = 2.0, 20
"""For so long new reads are refused while those under way end; so often that is tried, with as long a pause."""
VIEWS_WAIT_S = 10.0
"""How long a command waits for the views to reach what it depends on."""

SERVER_HINT = "if that lasts, look at the nats-server's log and disk; after a full disk it must be restarted"

log = structlog.get_logger()


class NodeError(Exception):
    """The node cannot start; one sentence with the way out."""


class ViewsBehind(Exception):
    """The views did not reach the ledger position asked for in time."""


class LedgerLost(NodeError):
    """Of what the views saw in the ledger, or of the keys to it, something is not there any more."""


class Node:
    """Use as a context manager: entering starts everything, leaving stops it in the opposite order."""

    def __init__(self, settings: Settings, on_progress: Progress = nobody) -> None:
        """`on_progress` is told of views that are built anew, at the start because their definition has changed."""
        self.settings = settings
        self.building = Building(on_progress)
        self.rebuilds = Rebuilds(self.building, settings.database)
        self.batches = Batches()
        self.instance = uuid4().hex
        self._views_lock = RLock()
        self.server: EmbeddedServer | None = None
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

    def _start(self) -> None:
        settings = self.settings
        os.umask(0o077)  # everything a node writes is for its owner only, whatever the folder's mode
        prepare_folder(settings.data)
        self.policy_toml, self.policy = policy_file.read(settings.policy)
        self.policy.require(settings.jurisdiction)
        servers, system = settings.nats_access(), settings.nats_system_access()
        if servers is None:
            self.server = EmbeddedServer(settings.data / "nats", port=settings.nats_port)
            self._stack.enter_context(self.server)
            servers, system = access(self.server.url), access(self.server.system_url)
        connection = Connection(servers)
        self._stack.callback(connection.close)
        self.connection = connection
        self.durability = Durability(system, required=self.server is not None or settings.nats_sync == "asserted")
        self._stack.callback(self.durability.stop)
        self.durability.start(lambda trouble: log.error("durability not asserted", trouble=trouble))
        self.stream = stream = declare_stream(connection, replicas=settings.replicas)
        Replacing(settings.database.absolute()).discard()
        self.access_log = AccessLog(connection, stream, days=settings.access_log_days)
        self.projector = self._open_views()
        self._stack.callback(self._close_views)
        self._check_history()
        keys = Bucket(connection, "keys", replicas=settings.replicas)
        own = keys.get_many([PEPPER, GIVEN_UP])
        self._check_keys(own)
        needed = key_id_of(own[PEPPER]) if PEPPER in own else None
        master = local_master_key(secret_of(settings), settings.master_key_file, needed)
        self.master_key_id = master.key_id
        self.keyring = Keyring(keys, master)
        self.recorder = JetStreamApplicationRecorder(connection, stream)
        self.recorder.gate.look = self._look_again
        snapshots = Snapshots(connection, stream, self.keyring)
        self._stack.callback(snapshots.close)
        self.ledger = Ledger(self.recorder, self.keyring, snapshots)
        self.claims = claims = Claims(Bucket(connection, "claims", replicas=settings.replicas), self.keyring.pepper())
        self.recording = Recording(self.ledger, claims, self.forest_of)
        self._stack.callback(self.recording.close)
        self.pools = Pools(self.ledger, claims)
        erasures = Bucket(connection, "erasures", replicas=settings.replicas)
        self.erasures = Erasures(erasures, self.ledger, keys, self.keyring, claims, snapshots, self._told_by_mirror)
        self._start_notary()  # stopped after projecting has: the last checkpoint covers all that it did
        self._start_projecting()
        self._stack.callback(self._stop_projecting)
        self._stack.callback(self.rebuilds.stop)
        self.reopening = Reopening(lambda: is_shut(self.projector), self._reopen_views)
        self._stack.callback(self.reopening.stop)
        self.reopening.start()
        self._start_beside()
        log.info("node started", checkpoint=self.projector.checkpoint, ledger=self.ledger.last_seq())

    def _start_beside(self) -> None:
        """What has time: copies for others, erasures to be finished."""
        self.publisher = Publisher(self._reading, self.settings.snapshot_file, self.settings.snapshot_every_s)
        self._stack.callback(self.publisher.stop)
        self.publisher.start()
        self.erasing = Erasing(self)
        self._stack.callback(self.erasing.stop)
        self.erasing.start()

    def _open_views(self) -> Projector:
        """The views, built anew where their definition changed. Raises NodeError when the file is of no use."""
        path = self.settings.database
        with ExitStack() as opened:
            try:
                if path.exists():
                    path.chmod(0o600)  # as written by a version that did not take care
                database = open_database(path)
                opened.callback(database.close)
                projector = self._projector(database)
            except ViewRefused as error:
                raise NodeError(str(error)) from error
            except (DatabaseUnreadable, MirrorOutdated, duckdb.Error) as error:
                if is_full(error):
                    raise NodeError(sentence_of(error, path)) from error
                reason = str(error).strip().partition("\n")[0]
                raise NodeError(
                    f"the views in {path} cannot be used ({reason}); move the file away and start again: "
                    "they are built anew from the ledger"
                ) from error
            finally:
                self.building.over()
            opened.pop_all()
        kept = {view.name for view in projector.views}
        for refused in projector.refused:
            log.error("view refused", view=refused.view, reason=str(refused), kept=refused.view in kept)
        return projector

    def _projector(self, database: duckdb.DuckDBPyConnection) -> Projector:
        """Over the views that come with Rapport and those in the folder set."""
        views, refused, folder = VIEWS, list[ViewRefused](), self.settings.views
        if folder is not None:
            if not folder.is_dir():
                raise NodeError(f"{folder} (RAPPORT_VIEWS) is no folder; name one, or leave it unset")
            views = (*VIEWS, *discover(folder, VIEWS, refused=refused))
        views = with_policy(views, self.policy, self.settings.jurisdiction)
        return Projector(database, views, self.building.note, self.batches.note, refused)

    def _start_notary(self) -> None:
        """Who signs checkpoints. Raises NodeError when there is no key to sign with."""
        settings, key = self.settings, signing_key(self.settings)
        notes, every_s = Checkpoints(settings.checkpoints), settings.checkpoint_every_s
        self.notary = Notary(self._reading, self._is_behind, key, notes, settings.log_origin, every_s)
        self._stack.callback(self.notary.stop)
        self.notary.start()

    def _is_behind(self) -> bool:
        """Whether the ledger holds more than the mirror, or cannot be asked."""
        try:
            return self.projector.mirrored < self.ledger.last_seq()
        except OperationalError:
            return True

    def _start_projecting(self) -> None:
        reader = LedgerReader(self.connection, self.stream)
        batch_events = self.settings.batch_events
        self.projecting = Projecting(reader, self.projector, self.keyring, batch_events, self._forget)
        self.projecting.start()

    def _forget(self, candidate_id: str) -> None:
        """Has nothing at hand of somebody who was erased, through whichever node."""
        self.ledger.drop(candidate_id)
        self.claims.forget(candidate_id)

    def _told_by_mirror(self, records: Sequence[str]) -> list[str]:
        """The identifiers that the mirror knows of these records."""
        with self.projector.cursor() as cursor:
            return mirrored.identifiers_of(cursor, records)

    def _reading(self) -> duckdb.DuckDBPyConnection:
        """A cursor of the projector there is: after the views' file was shut it is another one."""
        return self.projector.cursor()

    def _stop_projecting(self) -> None:
        self.projecting.stop()

    def _close_views(self) -> None:
        self.projector.close()

    def _reopen_views(self) -> None:
        """Goes on with the views' file after DuckDB has shut it. Raises NodeError while it cannot be opened."""
        with self._views_lock:
            if is_shut(self.projector):
                self._reopen(lambda: None)

    def rewrite_views(self) -> None:
        """Writes the views' file anew, so that nothing is left in it of what it does not show any more.

        Reads are refused for some moments at the end of it, when nobody else is reading; a query that lasts too long is
        ended. Raises OperationalError, or as DuckDB does; then the old file stays in use.
        """
        with self._views_lock:
            replacing = Replacing(self.settings.database.absolute())
            with replacing.written(self.projector):
                for _ in range(DRAIN_TRIES):
                    if self.projector.drain(DRAIN_S):
                        break
                    sleep(DRAIN_S)
                self._reopen(replacing.replace)

    def _reopen(self, between: Callable[[], None]) -> None:
        """Closes the views' file and opens it again, whatever becomes of what is done in between."""
        self._stop_projecting()
        self.rebuilds.stop()
        try:
            self._close_views()
            between()
        finally:
            self.projector = self._open_views()
            self._start_projecting()

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
        wait_s = 0.0 if self.projecting.failure is not None else timeout_s
        if not self.projector.wait_for(seq, wait_s):
            raise ViewsBehind(
                f"the views stand at event {self.projector.checkpoint}, {seq} was asked for; try again shortly"
            )

    def forest_of(self, candidate_id: str) -> Forest:
        """The merges around a candidate, with everything the ledger holds by now.

        Raises ViewsBehind, or UnreadableCandidate when the ledger hands out less of them than the views saw.
        """
        self.wait_for(self.ledger.last_seq())
        with self.projector.cursor() as cursor:
            forest = queries.forest(cursor, candidate_id)
        self._fresh(forest.members(candidate_id))
        return forest

    def histories(self, candidate_id: str) -> list[list[Recorded[CandidateEvent]]]:
        """The history, from the ledger, of every record that is or ever was one person with `candidate_id`. Records
        that were of one person with it once, and were erased since, are left out.

        Raises ErasedCandidate, or UnreadableCandidate when one of them cannot be read whole.
        """
        self.wait_for(self.ledger.last_seq())
        with self.projector.cursor() as cursor:
            records = queries.ever_merged(cursor, candidate_id)
        histories = self.ledger.histories(records)
        if candidate_id not in histories:
            raise ErasedCandidate(candidate.ERASED)
        self._require_whole({id_: len(history) for id_, history in histories.items()})
        return list(histories.values())

    def standing(
        self, candidate_id: str, channel: Channel, purpose: str, as_of: datetime, known_at: datetime | None = None
    ) -> Standing:
        """May the person be contacted, from the ledger; with `known_at` from what it held then."""
        if known_at is not None:
            return standing_known_at(candidate_id, self.histories(candidate_id), channel, purpose, as_of, known_at)
        forest = self.forest_of(candidate_id)
        states = self._fresh(forest.members(candidate_id))
        statements = [s for state in states for s in state.statements]
        return standing(statements, channel, purpose, as_of, forest.joined)

    def _fresh(self, candidate_ids: Iterable[str]) -> list[Candidate]:
        """States that hold all that was recorded. Raises UnreadableCandidate where there is none."""
        states = self.ledger.candidates(candidate_ids, fresh=True)
        for state in states.values():
            if state.unreadable is not None:
                raise UnreadableCandidate(state.unreadable)
            if state.erased:
                raise ErasedCandidate(candidate.ERASED)
        self._require_whole({id_: state.version for id_, state in states.items()})
        return list(states.values())

    def _require_whole(self, versions: Mapping[str, int]) -> None:
        """Raises UnreadableCandidate where the ledger hands out less than the views saw: of its losses it is silent."""
        with self.projector.cursor() as cursor:
            seen = mirrored.heads(cursor, [codec.aggregate_id(candidate.KIND, id_) for id_ in versions])
        for id_, version in versions.items():
            if version < seen.get(codec.aggregate_id(candidate.KIND, id_), 0):
                raise UnreadableCandidate(
                    "the ledger does not hand out every event of this candidate; `rapport verify` names what is lost"
                )

    def unready(self) -> list[str]:
        """Why the node cannot do its work; empty when it can."""
        reasons = []
        if not self.connection.is_connected:
            reasons.append("no connection to NATS")
        elif (doubt := self._doubt()) is not None:
            reasons.append(doubt)
        if self.durability.failure is not None:
            reasons.append(self.durability.failure)
        if self.ledger.failure is not None:
            reasons.append(f"the ledger did not take the last append ({self.ledger.failure}); {SERVER_HINT}")
        if (failure := self.projecting.failure or self.reopening.failure) is not None:
            reasons.append(f"the views stand still: {sentence_of(failure, self.settings.database)}")
        if self.notary.failure is not None:
            reasons.append(self.notary.failure)
        if self.erasing.failure is not None:
            reasons.append(self.erasing.failure)
        return reasons

    def _doubt(self) -> str | None:
        """What speaks against the ledger since the connection last broke, if anything does."""
        try:
            self.connection.call(self.recorder.gate.passed())
        except OperationalError as error:
            return str(error)
        return None

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
