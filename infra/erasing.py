"""The ledger's side of an erasure: the last event of each record, the claims, the keys, the snapshots.

What has to be done, and what is done of it, is kept in a bucket of its own before anything happens, so that whoever
finds it there goes on with it. Each step can be taken again: `Erasures.carry_out` is called until it returns.

The order matters. The event comes first: from then on nothing can be recorded on the person, so that no identifier is
added behind the plan. Then the identifiers are suppressed, while it is known which they are; then the keys are
destroyed, and with them every copy of what they sealed. The bodies go last, where they are to go (`infra.purging`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import structlog
from eventsourcing.persistence import DataError, IntegrityError, OperationalError
from pydantic import BaseModel

from domain import candidate
from domain.candidate import Erased
from domain.event import utc_now
from domain.policy import APPEND_ATTEMPTS, ActorKind, ErasureGround
from infra import codec
from infra.crypto.claims import Claims
from infra.crypto.keyring import GIVEN_UP, Keyring
from infra.jetstream.kv import Bucket
from infra.ledger import Append, Ledger
from infra.purging import Naming, Purging
from infra.snapshots import Snapshots

log = structlog.get_logger()

RECORDED = "recorded"
SUPPRESSED = "identifiers suppressed"
KEYS_DESTROYED = "keys destroyed"
SNAPSHOTS_ERASED = "snapshots erased"
PURGED = "bodies purged"
CERTIFIED = "certified"

UNREADABLE = frozenset({RECORDED, SUPPRESSED, KEYS_DESTROYED, SNAPSHOTS_ERASED})
"""The steps after which nothing can be read of the person any more; a purge that is asked for later builds on them."""


class Record(BaseModel):
    """One record of the person: its events but the last, and where the ledger holds that.

    When they were purged, how many bodies are gone, and the seq of the last event that names them.
    """

    id: str
    events: int
    erased_seq: int
    bodies: int = 0
    named_at: int = 0


class Lifted(BaseModel):
    """The suppression of one identifier, by its hash, lifted: when, by whom and why."""

    hash: str
    at: datetime
    by: str
    because: str


class Erasure(BaseModel):
    """One proceeding, as it is kept. Nothing in it says who the person was; `by` is whoever carried it out.

    `hashes` are those of the claims on the person's identifiers, `lifted` says which were freed again, `void` which
    nobody can compare with any more, since when: the secret that they were made with is lost. `purge`: the bodies of
    the events go as well. `steps` says when each was done, for the records that are `wanted` in this `round`.
    """

    id: str
    candidate_id: str
    ground: ErasureGround
    by: str
    requested_at: datetime
    request: str | None = None
    purge: bool = False
    wanted: tuple[str, ...]
    records: tuple[Record, ...] = ()
    hashes: tuple[str, ...] = ()
    lifted: tuple[Lifted, ...] = ()
    void: dict[str, datetime] = {}
    steps: dict[str, datetime] = {}
    round: int = 0

    @property
    def last_seq(self) -> int:
        """The ledger position of the last event of all records."""
        return max((max(record.erased_seq, record.named_at) for record in self.records), default=0)

    @property
    def suppressing(self) -> frozenset[str]:
        """The hashes of identifiers that this erasure keeps from being used again."""
        return frozenset(self.hashes) - {lift.hash for lift in self.lifted} - self.void.keys()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return CERTIFIED in self.steps and (PURGED in self.steps or not self.purge)


class Erasures:
    """The erasures there were and are. Safe to share between threads; one of them works at a time."""

    def __init__(
        self,
        bucket: Bucket,
        ledger: Ledger,
        keys: Bucket,
        keyring: Keyring,
        claims: Claims,
        snapshots: Snapshots,
        mirrored: Callable[[Sequence[str]], Iterable[str]],
        purging: Purging,
        forget_elsewhere: Callable[[Iterable[str]], object] = tuple,
    ) -> None:
        """`bucket` is where erasures are kept, `keys` that of the wrapped keys of `keyring`.

        `mirrored` gives the identifiers that the mirror knows of records, for those that the ledger cannot open.
        `forget_elsewhere` is told of identifiers while they are known, for where else they may stand.
        """
        self._forget_elsewhere = forget_elsewhere
        self._bucket = bucket
        self._mirrored = mirrored
        self._ledger = ledger
        self._keys = keys
        self._keyring = keyring
        self._claims = claims
        self._snapshots = snapshots
        self._purging = purging

    def begin(
        self,
        candidate_id: str,
        records: Iterable[str],
        ground: ErasureGround,
        by: str,
        request: str | None = None,
        *,
        purge: bool = False,
    ) -> Erasure:
        """Writes down that the person of these records is to be erased. From then on it will be, whatever happens."""
        erasure = Erasure(
            id=uuid4().hex,
            candidate_id=candidate_id,
            ground=ground,
            by=by,
            requested_at=utc_now(),
            request=request,
            purge=purge,
            wanted=tuple(sorted(records)),
        )
        self._bucket.create(erasure.id, erasure.model_dump_json().encode())
        return erasure

    def renew(self) -> None:
        """Suppresses and destroys once more what was, and is not now: a claim or the mark of a key was damaged, or a
        copy from before was put back. Raises OperationalError.
        """
        erasures = self.all()
        if lapsed := self._claims.lapsed(_suppressed(erasures)):
            still = _suppressed(self.all())  # a lift is written down before the claim goes
            lapsed = [hashed for hashed in lapsed if hashed in still]
            self._claims.suppress(lapsed)
            log.warning("suppressions were not there any more, and are made again", identifiers=len(lapsed))
        names = sorted(
            codec.aggregate_id(candidate.KIND, i) for e in erasures if KEYS_DESTROYED in e.steps for i in e.wanted
        )
        again = set(self._keys.get_many(names))
        if not self._keys.get_many([GIVEN_UP]):  # marks are counted as keys, and these were given up by their number
            again |= self._keys.unknown(names)
        for name in again:
            self._keys.delete(name)
            self._keyring.forget(name)
        if again:
            log.warning(
                "keys of erased persons were there again, or their marks gone; destroyed again", keys=len(again)
            )

    def get(self, id_: str) -> Erasure | None:
        """The erasure of this id."""
        value = self._bucket.get(id_)
        return None if value is None else Erasure.model_validate_json(value)

    def all(self) -> list[Erasure]:
        """Every erasure, oldest first."""
        return kept(self._bucket)

    def note(self, erasure: Erasure, step: str) -> Erasure:
        """The erasure with `step` done, kept."""
        return self._keep(erasure.model_copy(update={"steps": erasure.steps | {step: utc_now()}}))

    def lift(self, erasure: Erasure, lifted: Lifted) -> Erasure:
        """The erasure with an identifier that it does not suppress any more, kept."""
        return self._keep(erasure.model_copy(update={"lifted": (*erasure.lifted, lifted)}))

    def add(self, erasure: Erasure, records: Iterable[str]) -> Erasure:
        """The erasure with more records of the person, which were merged with them meanwhile."""
        wanted = tuple(sorted({*erasure.wanted, *records}))
        return _keep(self._bucket, erasure.model_copy(update={"wanted": wanted}), next_round=True)

    def begin_purge(self, erasure: Erasure) -> Erasure:
        """Writes down that the bodies go as well. What rests on that is done once more: file, copies, certificate."""
        return self._keep(erasure.model_copy(update={"purge": True}), but=UNREADABLE)

    def carry_out(self, erasure: Erasure) -> Erasure:
        """Everything that ledger and buckets have to do; what was done before is left. Raises OperationalError."""
        steps = (
            (RECORDED, self._record),
            (SUPPRESSED, self._suppress),
            (KEYS_DESTROYED, self._destroy_keys),
            (SNAPSHOTS_ERASED, self._erase_snapshots),
        )
        while True:
            erasure = self.get(erasure.id) or erasure
            begun = erasure.round
            for step, take in steps:
                if step not in erasure.steps and erasure.round == begun:
                    erasure = take(erasure)
            if erasure.round == begun:
                return erasure

    def _suppress(self, erasure: Erasure) -> Erasure:
        self._claims.suppress(erasure.suppressing)
        return self.note(erasure, SUPPRESSED)

    def _destroy_keys(self, erasure: Erasure) -> Erasure:
        for id_ in erasure.wanted:
            name = codec.aggregate_id(candidate.KIND, id_)
            self._keys.delete(name)  # the mark that stays tells a destroyed key from a lost one
            self._keyring.forget(name)
        return self.note(erasure, KEYS_DESTROYED)

    def _erase_snapshots(self, erasure: Erasure) -> Erasure:
        for id_ in erasure.wanted:
            self._snapshots.erase(id_)
            self._ledger.drop(id_)
        return self.note(erasure, SNAPSHOTS_ERASED)

    def purge(self, erasure: Erasure, go_on: Callable[[], bool] = lambda: True) -> Erasure:
        """The erasure with the bodies of its records gone from the ledger; may be repeated, also when it was done.

        The step is left open when `go_on` says no before the end. Raises OperationalError.
        """
        for id_ in erasure.wanted:
            append = partial(self._append_to, erasure, id_)
            gone = self._purging.purge(id_, append, go_on)
            if gone is None:
                return erasure
            records = (r.model_copy(update=gone._asdict()) if r.id == id_ else r for r in erasure.records)
            erasure = self._keep(erasure.model_copy(update={"records": tuple(records)}))
        if PURGED in erasure.steps:
            return erasure
        done = erasure.model_copy(update={"steps": erasure.steps | {PURGED: utc_now()}})
        return self._keep(done, but=UNREADABLE | {PURGED})  # whatever was done before with the bodies there

    def _record(self, erasure: Erasure) -> Erasure:
        """The last event on each record. The hashes of its identifiers are kept before, for then they can be read."""
        identifiers = list(self._mirrored(erasure.wanted))
        self._forget_elsewhere(identifiers)
        told = tuple(self._claims.hashes(identifiers))
        erasure = self._keep(erasure.model_copy(update={"hashes": (*erasure.hashes, *told)}))
        for _ in range(APPEND_ATTEMPTS):
            if left := set(erasure.wanted) - {record.id for record in erasure.records}:
                erasure = self._end(erasure, sorted(left))
            else:
                break
        if not set(erasure.wanted) <= {record.id for record in erasure.records}:
            raise OperationalError("others kept changing this person; it is tried again")
        self._forget_elsewhere(identifiers)  # what came and was kept before the ledger said that they are erased
        return self.note(erasure, RECORDED)

    def _end(self, erasure: Erasure, ids: Sequence[str]) -> Erasure:
        """Ends these records in one go: between two of them what one says against contact would not count for the
        other. Those that others change meanwhile are left."""
        states = self._ledger.candidates(ids, fresh=True)
        ended = {id_: (s.seq, s.version) for id_, s in states.items() if s.erased}  # by an attempt that was killed
        bases = {
            id_: self._ledger.versions(id_) if states[id_].unreadable is not None else states[id_].version
            for id_ in ids
            if id_ not in ended
        }
        identifiers = [identifier for id_ in bases for identifier in states[id_].identifiers]
        self._forget_elsewhere(identifiers)
        hashes = (*erasure.hashes, *self._claims.hashes(identifiers))
        erasure = self._keep(erasure.model_copy(update={"hashes": hashes}))
        outcomes = self._append(erasure, bases)
        ended |= {id_: (seq, bases[id_] + 1) for id_, seq in outcomes.items()}
        self._forget_elsewhere(identifiers)
        records = (Record(id=id_, events=version - 1, erased_seq=seq) for id_, (seq, version) in ended.items())
        return self._keep(erasure.model_copy(update={"records": (*erasure.records, *records)}))

    def _append(self, erasure: Erasure, bases: Mapping[str, int], naming: Naming | None = None) -> dict[str, int]:
        """The event behind so many others of each record; where it stands, of those that others were not quicker with.

        Raises OperationalError, DataError.
        """
        event = Erased(
            occurred_at=utc_now(),
            actor=erasure.by,
            actor_kind=_kind_of(erasure.by),
            erasure=erasure.id,
            ground=erasure.ground,
            request=erasure.request,
            **(naming._asdict() if naming is not None else {}),
        )
        appends = [Append(codec.aggregate_id(candidate.KIND, id_), base, [event]) for id_, base in bases.items()]
        found: dict[str, int] = {}
        for id_, outcome in zip(bases, self._ledger.append(appends, last=True), strict=True):
            if isinstance(outcome, DataError):
                raise outcome
            if not isinstance(outcome, IntegrityError):
                found[id_] = outcome[-1]
        return found

    def _append_to(self, erasure: Erasure, id_: str, base: int, naming: Naming) -> int | None:
        return self._append(erasure, {id_: base}, naming).get(id_)

    def _keep(self, erasure: Erasure, *, but: frozenset[str] | None = None) -> Erasure:
        """The erasure with whatever another thread or node has noted meanwhile: nothing that is kept is ever lost.

        With `but`, all steps but these are to be taken once more.
        """
        return _keep(self._bucket, erasure, but)


def _keep(bucket: Bucket, erasure: Erasure, but: frozenset[str] | None = None, *, next_round: bool = False) -> Erasure:
    while True:
        entry = bucket.get_entry(erasure.id)
        if entry is None:
            raise OperationalError("what was kept of an erasure is gone")
        merged = _merged(Erasure.model_validate_json(entry.value), erasure)
        if but is not None:
            merged = merged.model_copy(update={"steps": {s: at for s, at in merged.steps.items() if s in but}})
        if next_round:
            merged = merged.model_copy(update={"steps": {}, "round": merged.round + 1})
        with suppress(IntegrityError):
            bucket.update(erasure.id, merged.model_dump_json().encode(), entry.revision)
            return merged


def _merged(kept: Erasure, ours: Erasure) -> Erasure:
    # What was done for the records of an earlier round says nothing of those that came since.
    rounds = max(ours.round, kept.round)
    done = {s: at for e in (ours, kept) if e.round == rounds for s, at in e.steps.items()}
    # Of what two have noted of a record, what was noted later: its bodies are counted when they are named.
    records = {r.id: r for r in sorted((*ours.records, *kept.records), key=lambda r: (r.named_at, r.bodies))}
    return kept.model_copy(
        update={
            "purge": kept.purge or ours.purge,
            "wanted": tuple(sorted({*kept.wanted, *ours.wanted})),
            "records": tuple(records[id_] for id_ in sorted(records)),
            "hashes": tuple(sorted({*kept.hashes, *ours.hashes})),
            "lifted": (*kept.lifted, *(lift for lift in ours.lifted if lift not in kept.lifted)),
            "void": ours.void | kept.void,
            "round": rounds,
            "steps": done,
        }
    )


def kept(bucket: Bucket) -> list[Erasure]:
    """The erasures in a bucket, oldest first."""
    found = [Erasure.model_validate_json(value) for value in bucket.load_all().values()]
    return sorted(found, key=lambda erasure: erasure.requested_at)


def _suppressed(erasures: Iterable[Erasure]) -> set[str]:
    return {hashed for erasure in erasures if SUPPRESSED in erasure.steps for hashed in erasure.suppressing}


class Unrecognised(NamedTuple):
    """So many identifiers of erased persons are not recognised any more, by erasures up to this moment."""

    identifiers: int
    since: datetime


def unrecognised(erasures: Iterable[Erasure]) -> Unrecognised | None:
    """What of these erasures does not keep anybody away any more, for the secret of the claims was lost; None if all
    of it does.
    """
    void = {hashed: at for erasure in erasures for hashed, at in erasure.void.items()}
    return Unrecognised(len(void), max(void.values())) if void else None


def void_all(bucket: Bucket) -> int:
    """Notes in the erasures of a bucket that the secret their hashes were made with is lost; how many hashes.

    Their certificates are to be issued once more, for they say otherwise. May be repeated.
    """
    hashes = set[str]()
    for erasure in kept(bucket):
        if lost := erasure.suppressing:
            told = erasure.model_copy(update={"void": erasure.void | dict.fromkeys(sorted(lost), utc_now())})
            _keep(bucket, told, frozenset(erasure.steps) - {CERTIFIED})
            hashes |= lost
    return len(hashes)


def _kind_of(actor: str) -> ActorKind:
    kind = actor.partition(":")[0]
    return ActorKind(kind) if kind in set(ActorKind) else ActorKind.SYSTEM
