"""What was read last, at hand within bounds of memory."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class AtHand(Generic[V]):
    """The values used last by key: at most so many, made of at most so many events in all. Safe to share between
    threads.

    A subclass says how many events a value is made of; one of none is not kept.
    """

    def __init__(self, most: int, most_events: int) -> None:
        self._most = most
        self._most_events = most_events
        self._values: OrderedDict[str, V] = OrderedDict()
        self._events = 0
        self._lock = Lock()
        self.era = 0
        """Changes with `clear`; what was read before then is not kept after it."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def events(self) -> int:
        """How many events the values at hand were made of."""
        return self._events

    def events_of(self, value: V) -> int:
        """How many events a value is made of."""
        raise NotImplementedError

    def held(self, keys: Iterable[str]) -> dict[str, V]:
        """Those that are at hand, however old they are."""
        with self._lock:
            found = {key: self._values[key] for key in keys if key in self._values}
            for key in found:
                self._values.move_to_end(key)
            return found

    def keep_all(self, values: Mapping[str, V], era: int) -> None:
        """Has these values at hand, where no later ones are: those of more events."""
        with self._lock:
            for key, value in values.items():
                known = self._values.get(key)
                events = self.events_of(value)
                if era != self.era or events == 0 or (known is not None and self.events_of(known) > events):
                    continue
                self._drop(key)
                self._values[key] = value
                self._events += events
            while len(self._values) > self._most or (self._events > self._most_events and len(self._values) > 1):
                self._drop(next(iter(self._values)))

    def drop(self, key: str) -> None:
        """Has this value no more."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Has nothing at hand any more, not even what is being read right now."""
        with self._lock:
            self.era += 1
            for key in list(self._values):
                self._drop(key)

    def _drop(self, key: str) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._events -= self.events_of(value)
