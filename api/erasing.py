"""Erasures carried out: what ledger and buckets do first, then the views, the file, the published copies, the proof.

All but the first part happens on a thread of its own, which at a node's start goes on with what a node before it, or
another one, left; there go the bodies of the events, where they go as well, for each costs the server a sync. Every
node writes its own file anew once it has had personal data of somebody erased; the certificate is issued by the node
that was asked, and speaks of its data folder.
"""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import structlog
from eventsourcing.persistence import OperationalError

from api.certificate import certificate
from consumers.notary import NothingSigned
from domain import errors
from domain.policy import ErasureGround
from infra.erasing import CERTIFIED, PURGED, Erasure
from infra.replacing import replacing
from projections import mirrored, queries, rebuilding, rewriting

if TYPE_CHECKING:
    from pathlib import Path

    from api.node import Node

VIEWS_CLEARED = "views cleared"
FILE_REWRITTEN = "file written anew"
COPIES_DROPPED = "published copies dropped"

LOOK_EVERY_S = 60.0
AGAIN_AFTER_S = 5.0
VIEWS_WITHIN_S = 5.0

log = structlog.get_logger()


class Erasing:
    """Carries out the erasures of one node's ledger. `failure` says why the one at hand does not go on."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = Lock()
        self._wake = Event()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="rapport-erasing")
        self.failure: str | None = None

    def start(self) -> None:
        """Goes on with what was left unfinished."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is left is gone on with at the next start. Safe to call twice."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def erase(
        self, candidate_id: str, ground: ErasureGround, by: str, request: str | None = None, *, purge: bool = False
    ) -> Erasure:
        """Erases the person that `candidate_id` is a record of, with every record merged with it.

        Returns when nothing can be read of them any more; the bodies of the events, where they are to go (`purge`), the
        file and the certificate follow. Asked again for somebody who was erased, it returns what was done then, but for
        a purge that was not asked for before. Raises UnreadableCandidate before anything is done.
        """
        node = self._node
        with self._lock:
            if (earlier := self.of(candidate_id)) is not None:
                return self._purged_too(earlier) if purge else earlier
            node.wait_for(node.ledger.last_seq())
            # Also of who cannot be read: they can be erased all the same.
            records = node.ask(lambda cursor: queries.forest(cursor, candidate_id).members(candidate_id))
            erasure = node.erasures.begin(candidate_id, records, ground, by, request, purge=purge)
            erasure = node.erasures.carry_out(erasure)
        node.projector.wait_for(erasure.last_seq, VIEWS_WITHIN_S)
        self._wake.set()
        return erasure

    def _purged_too(self, erasure: Erasure) -> Erasure:
        """An earlier erasure, whose bodies go as well from now on; those that came back with a copy go again."""
        if not erasure.purge:
            erasure = self._node.erasures.begin_purge(erasure)
        elif erasure.is_done:
            erasure = self._node.erasures.purge(erasure, self._goes_on)
        self._wake.set()
        return erasure

    def _goes_on(self) -> bool:
        return not self._stopping.is_set()

    def of(self, candidate_id: str) -> Erasure | None:
        """The erasure of the person with this record, if there is or was one."""
        return next((e for e in self._node.erasures.all() if candidate_id in e.wanted), None)

    def certificate_of(self, erasure: Erasure) -> Path:
        """Where the certificate is, once it is issued."""
        return self._node.settings.data / "certificates" / f"{erasure.id}.txt"

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._look()
                self.failure = None
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; readiness reports it
                self.failure = f"an erasure waits to be finished ({_reason(error)}); it is tried again"
                log.error("erasure not finished, trying again", error=type(error).__name__)
            self._wake.wait(LOOK_EVERY_S if self.failure is None else AGAIN_AFTER_S)

    def _look(self) -> None:
        """Goes on with each erasure that is not done; one that cannot go on does not stop the others."""
        failed: Exception | None = None
        for erasure in self._node.erasures.all():
            if not erasure.is_done and not self._stopping.is_set():
                try:
                    self._finish(erasure)
                except Exception as error:  # noqa: BLE001 - whatever it is, the others are finished, and this is told
                    failed = error
        if not self._stopping.is_set() and rewriting.is_needed(self._node.projector):
            self._node.projector.known.close()
            self._node.rewrite_views()  # somebody was erased through another node
            self._node.publisher.drop()
        if failed is not None:
            raise failed

    def _finish(self, erasure: Erasure) -> None:
        node = self._node
        with self._lock:
            erasure = node.erasures.carry_out(erasure)
        begun = erasure.round
        if erasure.purge and PURGED not in erasure.steps:
            erasure = node.erasures.purge(erasure, self._goes_on)
            if PURGED not in erasure.steps or erasure.round != begun:
                return  # the node stops, or another one found records more
        rest = ((VIEWS_CLEARED, self._cleared), (FILE_REWRITTEN, self._rewritten), (COPIES_DROPPED, self._dropped))
        for step, is_done in rest:
            if step not in erasure.steps:
                if not is_done(erasure):
                    return  # the views are on their way
                erasure = node.erasures.note(erasure, step)
            if erasure.round != begun:
                return
        _, checkpoint = node.notary.covering(erasure.last_seq)
        path = self.certificate_of(erasure)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with replacing(path) as beside:
            beside.write_text(node.notary.note(certificate(erasure, checkpoint), checkpoint), "utf-8")
        node.erasures.note(erasure, CERTIFIED)
        log.info("erasure finished", erasure=erasure.id, records=len(erasure.records))

    def _rewritten(self, erasure: Erasure) -> bool:
        """Whether the views' file was written anew since."""
        if rewriting.rewritten_up_to(self._node.projector) < erasure.last_seq:
            self._node.rewrite_views()
        return rewriting.rewritten_up_to(self._node.projector) >= erasure.last_seq

    def _dropped(self, _erasure: Erasure) -> bool:
        """Takes back the copies for others."""
        self._node.publisher.drop()
        return True

    def _cleared(self, erasure: Erasure) -> bool:
        """Whether the views hold nothing of the person any more, nor does what was kept beside them."""
        node = self._node
        while not node.projector.wait_for(erasure.last_seq, 1.0):
            if self._stopping.is_set() or node.projecting.failure is not None:
                return False
        with node.projector.cursor() as cursor:
            late = mirrored.merged_into(cursor, erasure.wanted)
        if late:  # somebody else merged another record into this person before its last event
            node.erasures.carry_out(node.erasures.add(erasure, late))
            self._wake.set()
            return False
        node.projector.known.close()
        with node.projector.build_lock, node.projector.lock:
            rebuilding.discard(node.projector.connection)
        return True


def _reason(error: Exception) -> str:
    return (
        str(error).partition("\n")[0]
        if isinstance(error, OperationalError | NothingSigned | errors.Refused)
        else type(error).__name__
    )
