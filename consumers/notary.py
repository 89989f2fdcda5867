"""Keeps the log's tree up with the mirror and signs what it has come to: checkpoints, on an interval and at stop.

It reads behind the projector, from cursors of its own, so that no batch waits for it. A checkpoint is signed only when
the tree begins with that of the last one signed; otherwise nothing is signed, and `failure` says so until that is
mended. What is kept of the tree is made anew, with a word in the log, when the mirror itself still fits the last
checkpoint.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import duckdb
import structlog

from domain.checkpoint import Checkpoint, NoteForged, NoteMalformed, VerifyingKey, opened
from domain.merkle import consistency_proof, inclusion_proof, proves_consistency, root
from infra.checkpoints import Checkpoints
from infra.crypto.signing import SigningKey, check
from projections import tree
from projections.tree import Nodes, TreeDamaged

RETRY_AFTER_S = 1.0
"""After something went wrong, until it is tried again."""

log = structlog.get_logger()

Reading = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
OnSigned = Callable[[str, Checkpoint], None]
"""Told a signed note and the checkpoint in it; must not take long."""


class NothingSigned(Exception):
    """There is no checkpoint over what was asked for; the message says why, and the way out."""


class Placed(NamedTuple):
    """Where an event stands in the log: its leaf's number, and the inclusion proof from there."""

    leaf: int
    path: list[bytes]


class Notary:
    """Signs for one data folder. Calls may come from any thread; one round runs at a time."""

    def __init__(
        self,
        reading: Reading,
        is_behind: Callable[[], bool],
        key: SigningKey,
        notes: Checkpoints,
        origin: str | None = None,
        every_s: float = 60.0,
        on_signed: OnSigned = lambda _note, _checkpoint: None,
    ) -> None:
        """`reading` gives cursors of the mirror's file, `is_behind` says whether the ledger holds more than the mirror.

        `origin` names the log, by its first event if it is None. `every_s`: seconds between checkpoints, 0 for none
        but those asked for and the one at stop. `on_signed` is told of each, and of the last one when this begins.
        """
        self._on_signed = on_signed
        self._reading = reading
        self._is_behind = is_behind
        self._key = key
        self._notes = notes
        self._origin = origin
        self._every_s = every_s
        self._lock = threading.RLock()
        self._last: tuple[str, Checkpoint] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-notary")
        self.failure: str | None = None
        """Why nothing is signed; None when all is well."""

    def start(self) -> None:
        """Begins, with a look at whether mirror and tree fit the last checkpoint."""
        self._thread.start()

    def stop(self) -> None:
        """Signs what there is by now, and ends. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            self._try()

    def covering(self, seq: int) -> tuple[str, Checkpoint]:
        """The newest checkpoint and its note, over the event at `seq`; signed now when there is none yet.

        Raises NothingSigned.
        """
        with self._lock:
            if self._last is None or self.failure is not None or not self._covers(self._last[1], seq):
                self._try()
            if self.failure is not None or self._last is None:
                raise NothingSigned(self.failure or "the log is empty, so that there is nothing to prove")
            if not self._covers(self._last[1], seq):
                raise NothingSigned(f"the log does not hold event {seq} yet; try again shortly")
            return self._last

    def place(self, seqs: Sequence[int], size: int) -> list[Placed]:
        """Leaf and inclusion proof of each event, in the tree of `size`. Raises NothingSigned."""
        try:
            with self._reading() as cursor:
                nodes = Nodes(cursor)
                leaves = [nodes.leaf_of(seq) for seq in seqs]
                return [Placed(leaf, inclusion_proof(leaf, size, nodes)) for leaf in leaves]
        except (TreeDamaged, LookupError, ValueError) as error:
            raise NothingSigned(f"{error}; `rapport verify` says what is wrong") from error

    def key(self, checkpoint: Checkpoint) -> VerifyingKey:
        """What the notes of this log are verified with."""
        return self._key.named(checkpoint.origin)

    def note(self, text: str, checkpoint: Checkpoint) -> str:
        """A text about the log of `checkpoint`, signed by its key."""
        return self._key.note(text, checkpoint.origin)

    def _covers(self, checkpoint: Checkpoint, seq: int) -> bool:
        with self._reading() as cursor:
            try:
                return Nodes(cursor).leaf_of(seq) < checkpoint.size
            except LookupError:
                return False

    def _run(self) -> None:
        while True:
            self._try()
            wait_s = RETRY_AFTER_S if self.failure is not None else self._every_s or None
            if self._stopping.wait(wait_s):
                return

    def _try(self) -> None:
        """A round. Whatever goes wrong is noted in `failure` and tried again."""
        before = self.failure
        with self._lock:
            try:
                self._round()
                self.failure = None
            except (NothingSigned, TreeDamaged, NoteMalformed, NoteForged) as error:
                self.failure = f"no checkpoint is signed: {error}"
            except (duckdb.Error, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else None
                self.failure = f"no checkpoint is signed ({reason or type(error).__name__}); it is tried again"
        if self.failure is not None and self.failure != before:
            log.error("nothing signed, trying again", reason=self.failure)

    def _round(self) -> None:
        """Brings the tree up to the mirror and signs it, unless nothing is new. Raises as `_try` notes."""
        with self._reading() as cursor:
            tree.prepare(cursor)
            last = self._last[1] if self._last is not None else self._resumed(cursor)
            size = _grown(cursor)
            if size == (last.size if last is not None else 0):
                return
            if last is not None and size < last.size:
                if self._is_behind():
                    return  # the mirror is being filled
                raise NothingSigned(
                    f"the mirror holds {size:,} events and the last checkpoint covers {last.size:,}; `rapport verify` "
                    "names what is lost"
                )
            nodes = Nodes(cursor)
            new = Checkpoint(last.origin if last is not None else self._named(nodes), size, root(size, nodes))
            if last is not None:
                _require_consistent(last, new, nodes)
        note = self._key.note(new.text, new.origin)
        self._notes.add(note, self.key(new).vkey)
        self._note(note, new)
        log.info("checkpoint signed", size=new.size, origin=new.origin)

    def _resumed(self, cursor: duckdb.DuckDBPyConnection) -> Checkpoint | None:
        """The last checkpoint that was signed, when it is ours and fits the mirror; None when there is none."""
        note = self._notes.last()
        if note is None:
            return None
        last = last_signed(note, self._key)
        if self._origin not in (None, last.origin):
            raise NothingSigned(
                f"the last checkpoint is one of log {last.origin}, and RAPPORT_LOG_ORIGIN says {self._origin}; leave "
                "it unset, or move the folder of checkpoints away to begin a log of this name"
            )
        if not _fits(cursor, last):
            if self._is_behind() and not _reaches(cursor, last):
                return last  # the mirror is being filled
            if tree.root_of_mirror(cursor, last.size) != last.root:
                raise NothingSigned(
                    f"the mirror is not the one that the last checkpoint was signed over ({last.size:,} events of log "
                    f"{last.origin}); `rapport verify` says more. Put the mirror back from a copy, or, if what is lost "
                    "is accepted, move the folder of checkpoints away: the log is then signed anew, and whoever holds "
                    "an old checkpoint can tell"
                )
            tree.forget(cursor)
            log.warning("the tree kept beside the mirror was damaged and is made anew", size=last.size)
        self._note(note, last)
        return last

    def _note(self, note: str, checkpoint: Checkpoint) -> None:
        self._last = note, checkpoint
        self._on_signed(note, checkpoint)

    def _named(self, nodes: Nodes) -> str:
        """The log's name: as it was set, else of the ledger's first event, which no other ledger has."""
        return self._origin or f"rapport/{nodes(0, 0).hex()[:16]}"


def last_signed(note: str, key: SigningKey) -> Checkpoint:
    """The checkpoint in a note of ours. Raises NoteMalformed, or NothingSigned when `key` did not sign it."""
    origin = note.partition("\n")[0]
    try:
        return Checkpoint.of(opened(note, key.named(origin), check))
    except NoteForged as error:
        raise NothingSigned(
            f"the last checkpoint was not signed with this node's key, or was changed since ({error}); put the key "
            "back (signing.key or RAPPORT_SIGNING_KEY), or move the folder of checkpoints away to begin anew"
        ) from None


def _grown(cursor: duckdb.DuckDBPyConnection) -> int:
    size = 0
    for size in tree.grow(cursor):  # noqa: B007 - the last one counts
        pass
    return size


def _fits(cursor: duckdb.DuckDBPyConnection, last: Checkpoint) -> bool:
    """Whether the kept tree, as far as the checkpoint goes, has its root."""
    try:
        return _grown(cursor) >= last.size and root(last.size, Nodes(cursor)) == last.root
    except TreeDamaged:
        return False


def _reaches(cursor: duckdb.DuckDBPyConnection, last: Checkpoint) -> bool:
    return tree.mirrored(cursor) >= last.size


def _require_consistent(last: Checkpoint, new: Checkpoint, nodes: Nodes) -> None:
    proof = consistency_proof(last.size, new.size, nodes)
    if not proves_consistency(last.size, new.size, last.root, new.root, proof):
        raise NothingSigned(
            f"the log of {new.size:,} events does not begin with the {last.size:,} of the last checkpoint: the mirror "
            "was changed; `rapport verify` says where"
        )
