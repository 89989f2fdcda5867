"""One key per aggregate, wrapped by the master key, in a bucket of its own.

Destroying a key is what erasure rests on: without it the personal part of every event of that aggregate, in any
copy of the ledger, stays closed for good.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import Protocol

from eventsourcing.persistence import OperationalError

from infra.crypto import sealing
from infra.crypto.master import MasterKey, MasterKeyError
from infra.crypto.sealing import SealBrokenError

PEPPER = "pepper"
GIVEN_UP = "given-up"
"""Entry that says how many keys an operator knows to be lost for good."""

KEYS_AT_HAND = 500_000
"""Most keys held unwrapped in memory, about 250 bytes each; of more, those used last."""


class KeyBucket(Protocol):
    """What the keyring needs of its store; `infra.jetstream.Bucket` is one."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]: ...
    def create_many(self, items: dict[str, bytes]) -> dict[str, bool]: ...
    def pages(self) -> Iterator[dict[str, bytes]]: ...
    def revisions(self) -> int: ...


class Keyring:
    """Unwrapped keys at hand, wrapped ones in `bucket`. Safe to share between threads."""

    def __init__(self, bucket: KeyBucket, master: MasterKey, at_hand: int = KEYS_AT_HAND) -> None:
        self._bucket = bucket
        self._master = master
        self._at_hand = at_hand
        # Those used last at the end. A plain dict of text and bytes is none that the garbage collector walks.
        self._keys: dict[str, bytes] = {}
        self._forgotten = 0
        self._lock = Lock()

    def existing(self, names: Iterable[str]) -> dict[str, bytes]:
        """The keys there are, by name; a name without one (never made, or destroyed) is left out.

        Raises MasterKeyError when another master key wrapped one of them, SealBrokenError when it was altered.
        """
        wanted = set(names)
        with self._lock:
            forgotten = self._forgotten
            found = {name: self._keys.pop(name) for name in wanted if name in self._keys}
            self._keys.update(found)
        if missing := wanted - found.keys():
            wrapped = self._bucket.get_many(list(missing))
            read = {name: self._master.unwrap(key, _context(name)) for name, key in wrapped.items()}
            self._keep(read, forgotten)
            found |= read
        return found

    def read_ahead(self, events: int, go_on: Callable[[], bool]) -> None:
        """Takes all keys at hand before so many events are read, where that is less work than to look up those wanted.

        It is when there are no more keys than events, room for all, and most of them are not at hand yet. Read in
        order, a key costs the server less than a tenth of looking it up. Ends within a page after `go_on` says no. What
        cannot be read now is left for `existing` to ask for, and to report.
        """
        with self._lock:
            forgotten, held = self._forgotten, len(self._keys)
        with suppress(OperationalError):
            stored = self._bucket.revisions()
            if stored > min(events, self._at_hand) or held > stored // 2:
                return
            for page in self._bucket.pages():
                self._keep(self._readable(page), forgotten)
                self._drop(name for name, wrapped in page.items() if not wrapped)
                if not go_on():
                    return

    def make(self, names: Iterable[str]) -> dict[str, bytes]:
        """Keys for new aggregates, stored durably; where one was made before, that one.

        Raises as `existing` does.
        """
        wanted = set(names)
        with self._lock:
            forgotten = self._forgotten
            unknown = wanted - self._keys.keys()
        made: dict[str, bytes] = {}
        if unknown:
            fresh = {n: sealing.new_key() for n in unknown}
            created = self._bucket.create_many({n: self._master.wrap(key, _context(n)) for n, key in fresh.items()})
            made = {n: fresh[n] for n, won in created.items() if won}
            self._keep(made, forgotten)
        return made | self.existing(wanted - made.keys())

    def pepper(self) -> bytes:
        """The secret under which claims are hashed, shared by every node of the ledger, made on first use."""
        return (self.existing([PEPPER]) or self.make([PEPPER]))[PEPPER]

    def forget(self, name: str) -> None:
        """Drops `name` from memory, after its key was destroyed in the bucket."""
        with self._lock:
            self._forgotten += 1
            self._keys.pop(name, None)
        sealing.forget_keys()

    def _readable(self, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those that are keys, and whole."""
        keys: dict[str, bytes] = {}
        for name, key in wrapped.items():
            with suppress(MasterKeyError, SealBrokenError):
                keys[name] = self._master.unwrap(key, _context(name))
        return keys

    def _drop(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._keys.pop(name, None)

    def _keep(self, keys: dict[str, bytes], forgotten: int) -> None:
        """Keeps `keys` at hand, unless one was destroyed since they were asked for: it may be among them."""
        with self._lock:
            if forgotten == self._forgotten:
                self._keys.update(keys)
            for name in list(islice(self._keys, max(0, len(self._keys) - self._at_hand))):
                del self._keys[name]


def _context(name: str) -> bytes:
    return b"rapport key|" + name.encode()
