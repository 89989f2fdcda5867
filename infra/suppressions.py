"""Identifiers of erased persons, which lead to nobody: is one suppressed, and may it be used again.

Who was erased does not come back by an import or a late webhook; for that a keyed hash of each identifier is kept, and
nothing else (Art. 17 with 21(3) GDPR, on the ground of a legitimate interest). Somebody who later comes of their own
accord begins a new relation: an officer lifts the suppression, and says why. Nothing of what was erased comes back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from domain.event import utc_now
from infra.crypto.claims import Claims
from infra.erasing import Erasure, Erasures, Lifted, Unrecognised, unrecognised


class NotSuppressed(Exception):
    """Nobody who was erased had this identifier, or it was lifted already."""


class ErasureUnfinished(Exception):
    """The identifier is being suppressed just now."""


@dataclass(frozen=True)
class Suppression:
    """What is known of an identifier: by which erasures it was suppressed, oldest first; each time it was lifted.

    `unrecognised`: how many identifiers of erased persons are suppressed no more because the secret of their hashes was
    lost; whether this is one of them nobody can tell.
    """

    suppressed: bool
    erasures: tuple[str, ...]
    lifted: tuple[Lifted, ...]
    unrecognised: Unrecognised | None


class Suppressions:
    """Safe to share between threads. Identifiers are in the form in which they are compared; none is ever listed."""

    def __init__(self, claims: Claims, erasures: Erasures) -> None:
        self._claims = claims
        self._erasures = erasures
        self._lock = Lock()

    def of(self, identifier: str) -> Suppression:
        """What there is to be known. Raises KeysMissing."""
        hashed, erasures = self._found(identifier)
        lifts = sorted((lift for e in erasures for lift in e.lifted if lift.hash == hashed), key=lambda lift: lift.at)
        ids, suppressed = tuple(erasure.id for erasure in erasures), self._claims.suppressed(hashed) is not None
        return Suppression(suppressed, ids, tuple(lifts), self.unrecognised())

    def unrecognised(self) -> Unrecognised | None:
        """What does not keep anybody away any more, if there is such. Raises OperationalError."""
        return unrecognised(self._erasures.all())

    def lift(self, identifier: str, because: str, by: str) -> Suppression:
        """From now on the identifier is free, as one that nobody ever had. Killed half-way, it may be repeated.

        It is written down first, beside the erasure that suppressed it. Raises NotSuppressed, ErasureUnfinished,
        KeysMissing or OperationalError.
        """
        with self._lock:
            hashed, erasures = self._found(identifier)
            revision = self._claims.suppressed(hashed)
            if revision is None:
                raise NotSuppressed
            if not all(erasure.is_done for erasure in erasures):
                raise ErasureUnfinished
            lifted = Lifted(hash=hashed, at=utc_now(), by=by, because=because)
            for erasure in _in_force(erasures, hashed):
                self._erasures.lift(erasure, lifted)
            self._claims.free(hashed, revision)
        return self.of(identifier)

    def _found(self, identifier: str) -> tuple[str, list[Erasure]]:
        """The identifier's hash, and the erasures of whoever had it."""
        (hashed,) = self._claims.hashes([identifier])
        return hashed, [erasure for erasure in self._erasures.all() if hashed in erasure.hashes]


def _in_force(erasures: Iterable[Erasure], hashed: str) -> list[Erasure]:
    return [erasure for erasure in erasures if hashed in erasure.suppressing]
