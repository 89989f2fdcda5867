"""States of candidates at hand, within bounds of memory."""

from collections.abc import Iterable

from domain.candidate import Candidate
from infra.at_hand import AtHand

MOST_CANDIDATES = 20_000
MOST_EVENTS = 500_000  # a state takes about 250 bytes for each of the events that it is made of


class States(AtHand[Candidate]):
    """The states used last. One without events is not kept: somebody else may be about to record the first."""

    def __init__(self, most: int = MOST_CANDIDATES, most_size: int = MOST_EVENTS) -> None:
        super().__init__(most, most_size)
        self._doubted: set[str] = set()

    def size_of(self, value: Candidate) -> int:
        """How many events it is made of. Who cannot be read is not kept: what stands in the way may be gone by then."""
        return value.version if value.unreadable is None else 0

    def current(self, ids: Iterable[str]) -> dict[str, Candidate]:
        """Those of `ids` that are at hand and, as far as is known, up to date."""
        with self._lock:
            return {id_: state for id_, state in self._found(ids).items() if id_ not in self._doubted}

    def keep(self, state: Candidate, era: int) -> None:
        """Has this state at hand, unless a later one is."""
        self.keep_all({state.id: state}, era)

    def doubt(self, ids: Iterable[str]) -> None:
        """These are not `current` until they are kept again."""
        with self._lock:
            self._doubted.update(id_ for id_ in ids if id_ in self._values)

    def _drop(self, key: str) -> None:
        self._doubted.discard(key)
        super()._drop(key)
