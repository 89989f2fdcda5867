"""States of candidates at hand, within bounds of memory."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from domain.candidate import Candidate

MOST_CANDIDATES = 20_000
MOST_EVENTS = 500_000  # a state takes about 250 bytes for each of its events


class States:
    """The states used last: at most so many, made of at most so many events in all. Safe to share between threads."""

    def __init__(self, most: int = MOST_CANDIDATES, most_events: int = MOST_EVENTS) -> None:
        self._most = most
        self._most_events = most_events
        self._states: OrderedDict[str, Candidate] = OrderedDict()
        self._doubted: set[str] = set()
        self._events = 0
        self._lock = Lock()
        self.era = 0
        """Changes with `clear`; what was read before then is not kept after it."""

    def __len__(self) -> int:
        return len(self._states)

    @property
    def events(self) -> int:
        """How many events the states at hand were made of."""
        return self._events

    def current(self, ids: Iterable[str]) -> dict[str, Candidate]:
        """Those of `ids` that are at hand and, as far as is known, up to date."""
        with self._lock:
            found = {id_: self._states[id_] for id_ in ids if id_ in self._states and id_ not in self._doubted}
            for id_ in found:
                self._states.move_to_end(id_)
            return found

    def held(self, ids: Iterable[str]) -> dict[str, Candidate]:
        """Those of `ids` that are at hand and to be built upon, however old they are."""
        with self._lock:
            states = {id_: self._states[id_] for id_ in ids if id_ in self._states}
            return {id_: state for id_, state in states.items() if state.unreadable is None}

    def keep(self, state: Candidate, era: int) -> None:
        """Has this state at hand, unless a later one is. One without events is not kept: somebody else may be about
        to record the first."""
        with self._lock:
            known = self._states.get(state.id)
            if era != self.era or state.version == 0 or (known is not None and known.version > state.version):
                return
            self._drop(state.id)
            self._states[state.id] = state
            self._events += state.version
            while len(self._states) > self._most or (self._events > self._most_events and len(self._states) > 1):
                self._drop(next(iter(self._states)))

    def doubt(self, ids: Iterable[str]) -> None:
        """These are not `current` until they are kept again."""
        with self._lock:
            self._doubted.update(id_ for id_ in ids if id_ in self._states)

    def drop(self, id_: str) -> None:
        """Has this state no more."""
        with self._lock:
            self._drop(id_)

    def clear(self) -> None:
        """Has nothing at hand any more, not even what is being read right now."""
        with self._lock:
            self.era += 1
            self._states.clear()
            self._doubted.clear()
            self._events = 0

    def _drop(self, id_: str) -> None:
        state = self._states.pop(id_, None)
        self._doubted.discard(id_)
        if state is not None:
            self._events -= state.version
