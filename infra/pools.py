"""Pool commands: resolve the name, decide, append, again after a lost race."""

from uuid import uuid4

from eventsourcing.persistence import DataError, IntegrityError

from domain import errors, pool
from domain.event import utc_now
from domain.policy import APPEND_ATTEMPTS
from domain.pool import PoolEvent
from infra import codec
from infra.crypto.claims import Claims
from infra.ledger import Append, Ledger


class Pools:
    """Creates and changes pools. Names are unique without regard to case."""

    def __init__(self, ledger: Ledger, claims: Claims) -> None:
        self._ledger = ledger
        self._claims = claims

    def resolve(self, name_or_id: str) -> str:
        """The id of the pool so named. Raises UnknownPool."""
        claim = claim_of(name_or_id)
        found = self._claims.resolve([claim]).get(claim)
        if found is None and len(name_or_id) == 32 and self._ledger.pool(name_or_id).version > 0:
            found = name_or_id
        if found is None or self._ledger.pool(found).version == 0:
            raise errors.UnknownPool(f"there is no pool {name_or_id!r}; `rapport pools list` shows them")
        return found

    def create(self, event: pool.Created) -> tuple[str, int]:
        """The new pool's id and the ledger position. Raises PoolRefused when the name is taken."""
        claim = claim_of(event.name)
        pool_id = self._claims.claim({claim: uuid4().hex})[claim]
        seq = self._record(pool_id, event)
        if seq is None:
            raise errors.PoolRefused("this pool was created by the same request before")
        return pool_id, seq

    def change(self, name_or_id: str, event: PoolEvent) -> tuple[str, int | None]:
        """The pool's id and the ledger position, None when the change was in force already.

        Raises UnknownPool or PoolRefused.
        """
        pool_id = self.resolve(name_or_id)
        return pool_id, self._record(pool_id, event)

    def _record(self, pool_id: str, event: PoolEvent) -> int | None:
        for _ in range(APPEND_ATTEMPTS):
            state = self._ledger.pool(pool_id)
            events = pool.decide(state, event, now=utc_now())
            if not events:
                return None
            (result,) = self._ledger.append([Append(codec.aggregate_id(pool.KIND, pool_id), state.version, events)])
            if isinstance(result, DataError):
                raise errors.PoolRefused(str(result))
            if not isinstance(result, IntegrityError):
                return result[-1]
        raise errors.ConcurrentChange("others kept changing this pool; try again")


def claim_of(name: str) -> str:
    """The identifier that a pool's name is claimed by."""
    return "pool:" + name.strip().casefold()
