"""The ledger's side of an erasure: the last event of each record, the claims, the keys, the snapshots.

What has to be done, and what is done of it, is kept in a bucket of its own before anything happens, so that whoever
finds it there goes on with it. Each step can be taken again: `Erasures.carry_out` is called until it returns.

The order matters. The event comes first: from then on nothing can be recorded on the person, so that no identifier is
added behind the plan. Then the identifiers are suppressed, while it is known which they are; then the keys are
destroyed, and with them every copy of what they sealed.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from eventsourcing.persistence import DataError, IntegrityError, OperationalError
from pydantic import BaseModel

from domain import candidate
from domain.candidate import Erased
from domain.event import utc_now
from domain.policy import APPEND_ATTEMPTS, ActorKind, ErasureGround
from infra import codec
from infra.crypto.claims import Claims
from infra.crypto.keyring import Keyring
from infra.jetstream.kv import Bucket
from infra.ledger import Append, Ledger
from infra.snapshots import Snapshots

RECORDED = "recorded"
SUPPRESSED = "identifiers suppressed"
KEYS_DESTROYED = "keys destroyed"
SNAPSHOTS_ERASED = "snapshots erased"


class Record(BaseModel):
    """One record of the person: its events but the last, and where the ledger holds that."""

    id: str
    events: int
    erased_seq: int


class Erasure(BaseModel):
    """One proceeding, as it is kept. Nothing in it says who the person was; `by` is whoever carried it out.

    `hashes` are those of the claims on the person's identifiers. `steps` says when each was done.
    """

    id: str
    candidate_id: str
    ground: ErasureGround
    by: str
    requested_at: datetime
    request: str | None = None
    wanted: tuple[str, ...]
    records: tuple[Record, ...] = ()
    hashes: tuple[str, ...] = ()
    steps: dict[str, datetime] = {}

    @property
    def last_seq(self) -> int:
        """The ledger position of the last event of the last record."""
        return max((record.erased_seq for record in self.records), default=0)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return CERTIFIED in self.steps


CERTIFIED = "certified"


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
    ) -> None:
        """`bucket` is where erasures are kept, `keys` that of the wrapped keys of `keyring`.

        `mirrored` gives the identifiers that the mirror knows of records, for those that the ledger cannot open.
        """
        self._bucket = bucket
        self._mirrored = mirrored
        self._ledger = ledger
        self._keys = keys
        self._keyring = keyring
        self._claims = claims
        self._snapshots = snapshots

    def begin(
        self, candidate_id: str, records: Iterable[str], ground: ErasureGround, by: str, request: str | None = None
    ) -> Erasure:
        """Writes down that the person of these records is to be erased. From then on it will be, whatever happens."""
        erasure = Erasure(
            id=uuid4().hex,
            candidate_id=candidate_id,
            ground=ground,
            by=by,
            requested_at=utc_now(),
            request=request,
            wanted=tuple(sorted(records)),
        )
        self._bucket.create(erasure.id, erasure.model_dump_json().encode())
        return erasure

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

    def add(self, erasure: Erasure, records: Iterable[str]) -> Erasure:
        """The erasure with more records of the person, which were merged with them meanwhile."""
        wanted = tuple(sorted({*erasure.wanted, *records}))
        return self._keep(erasure.model_copy(update={"wanted": wanted}), again=True)

    def carry_out(self, erasure: Erasure) -> Erasure:
        """Everything that ledger and buckets have to do; what was done before is left. Raises OperationalError."""
        erasure = self.get(erasure.id) or erasure
        if RECORDED not in erasure.steps:
            erasure = self._record(erasure)
        if SUPPRESSED not in erasure.steps:
            self._claims.suppress(erasure.hashes)
            erasure = self.note(erasure, SUPPRESSED)
        if KEYS_DESTROYED not in erasure.steps:
            for id_ in erasure.wanted:
                name = codec.aggregate_id(candidate.KIND, id_)
                self._keys.delete(name)  # the mark that stays tells a destroyed key from a lost one
                self._keyring.forget(name)
            erasure = self.note(erasure, KEYS_DESTROYED)
        if SNAPSHOTS_ERASED not in erasure.steps:
            for id_ in erasure.wanted:
                self._snapshots.erase(id_)
                self._ledger.drop(id_)
            erasure = self.note(erasure, SNAPSHOTS_ERASED)
        return erasure

    def _record(self, erasure: Erasure) -> Erasure:
        """The last event on each record. The hashes of its identifiers are kept before, for then they can be read."""
        told = tuple(self._claims.hashes(self._mirrored(erasure.wanted)))
        erasure = self._keep(erasure.model_copy(update={"hashes": (*erasure.hashes, *told)}))
        for id_ in erasure.wanted:
            if id_ not in {record.id for record in erasure.records}:
                erasure = self._end(erasure, id_)
        return self.note(erasure, RECORDED)

    def _end(self, erasure: Erasure, id_: str) -> Erasure:
        for _ in range(APPEND_ATTEMPTS):
            state = self._ledger.candidates([id_], fresh=True)[id_]
            if state.erased:  # by an attempt that was killed before it could say so
                seq, version = state.seq, state.version
                break
            base = state.version if state.unreadable is None else self._ledger.versions(id_)
            hashes = (*erasure.hashes, *self._claims.hashes(state.identifiers))
            erasure = self._keep(erasure.model_copy(update={"hashes": hashes}))
            outcome = self._append(erasure, id_, base)
            if outcome is not None:
                seq, version = outcome, base + 1
                break
        else:
            raise OperationalError("others kept changing this person; it is tried again")
        record = Record(id=id_, events=version - 1, erased_seq=seq)
        return self._keep(erasure.model_copy(update={"records": (*erasure.records, record)}))

    def _append(self, erasure: Erasure, id_: str, base: int) -> int | None:
        """The position of the event; None when others were quicker."""
        event = Erased(
            occurred_at=utc_now(),
            actor=erasure.by,
            actor_kind=_kind_of(erasure.by),
            erasure=erasure.id,
            ground=erasure.ground,
            request=erasure.request,
        )
        outcome: Sequence[int] | IntegrityError | DataError
        name = codec.aggregate_id(candidate.KIND, id_)
        (outcome,) = self._ledger.append([Append(name, base, [event])], last=True)
        if isinstance(outcome, DataError):
            raise outcome
        return None if isinstance(outcome, IntegrityError) else outcome[-1]

    def _keep(self, erasure: Erasure, *, again: bool = False) -> Erasure:
        """The erasure with whatever another thread or node has noted meanwhile: nothing that is kept is ever lost.

        With `again`, the steps are to be taken once more.
        """
        while True:
            entry = self._bucket.get_entry(erasure.id)
            if entry is None:
                raise OperationalError("what was kept of an erasure is gone")
            merged = _merged(Erasure.model_validate_json(entry.value), erasure)
            if again:
                merged = merged.model_copy(update={"steps": {}})
            with suppress(IntegrityError):
                self._bucket.update(erasure.id, merged.model_dump_json().encode(), entry.revision)
                return merged


def _merged(kept: Erasure, ours: Erasure) -> Erasure:
    records = {record.id: record for record in (*ours.records, *kept.records)}
    return kept.model_copy(
        update={
            "wanted": tuple(sorted({*kept.wanted, *ours.wanted})),
            "records": tuple(records[id_] for id_ in sorted(records)),
            "hashes": tuple(sorted({*kept.hashes, *ours.hashes})),
            "steps": ours.steps | kept.steps,
        }
    )


def kept(bucket: Bucket) -> list[Erasure]:
    """The erasures in a bucket, oldest first."""
    found = [Erasure.model_validate_json(value) for value in bucket.load_all().values()]
    return sorted(found, key=lambda erasure: erasure.requested_at)


def _kind_of(actor: str) -> ActorKind:
    kind = actor.partition(":")[0]
    return ActorKind(kind) if kind in set(ActorKind) else ActorKind.SYSTEM
