"""What was read last, at hand within bounds of memory."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class AtHand(Generic[V]):
    """The values used last by key: at most so many, of at most so much in all. Safe to share between threads.

    A subclass says how much a value is, which grows as the value does; one that is nothing is not kept.
    """

    def __init__(self, most: int, most_size: int) -> None:
        self._most = most
        self._most_size = most_size
        self._values: OrderedDict[str, V] = OrderedDict()
        self._barred: set[str] = set()
        self._size = 0
        self._lock = Lock()
        self.era = 0
        """Changes with `clear`; what was read before then is not kept after it."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def size(self) -> int:
        """How much the values at hand are."""
        return self._size

    def size_of(self, value: V) -> int:
        """How much a value is."""
        raise NotImplementedError

    def held(self, keys: Iterable[str]) -> dict[str, V]:
        """Those that are at hand, however old they are."""
        with self._lock:
            return self._found(keys)

    def keep_all(self, values: Mapping[str, V], era: int) -> None:
        """Has these values at hand, where no later ones are: those that are more."""
        with self._lock:
            for key, value in values.items():
                known = self._values.get(key)
                size = self.size_of(value)
                if era != self.era or size == 0 or key in self._barred:
                    continue
                if known is not None and self.size_of(known) > size:
                    continue
                self._drop(key)
                self._values[key] = value
                self._size += size
            while len(self._values) > self._most or (self._size > self._most_size and len(self._values) > 1):
                self._drop(next(iter(self._values)))

    def drop(self, key: str) -> None:
        """Has this value no more."""
        with self._lock:
            self._drop(key)

    def bar(self, key: str) -> None:
        """Has this value no more, and never again, whoever is reading it right now."""
        with self._lock:
            self._barred.add(key)
            self._drop(key)

    def clear(self) -> None:
        """Has nothing at hand any more, not even what is being read right now."""
        with self._lock:
            self.era += 1
            for key in list(self._values):
                self._drop(key)

    def _found(self, keys: Iterable[str]) -> dict[str, V]:
        found = {key: self._values[key] for key in keys if key in self._values}
        for key in found:
            self._values.move_to_end(key)
        return found

    def _drop(self, key: str) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._size -= self.size_of(value)
