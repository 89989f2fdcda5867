"""One key per aggregate, wrapped by the master key, in a bucket of its own.

Destroying a key is what erasure rests on: without it the personal part of every event of that aggregate, in any
copy of the ledger, stays closed for good.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Protocol

from infra.crypto import sealing
from infra.crypto.master import MasterKey

PEPPER = "pepper"
GIVEN_UP = "given-up"
"""Entry that says how many keys an operator knows to be lost for good."""

KEYS_AT_HAND = 500_000
"""Most keys held unwrapped in memory, about 250 bytes each; of more, those used last."""


class KeyBucket(Protocol):
    """What the keyring needs of its store; `infra.jetstream.Bucket` is one."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]: ...
    def create_many(self, items: dict[str, bytes]) -> dict[str, bool]: ...


class Keyring:
    """Unwrapped keys at hand, wrapped ones in `bucket`. Safe to share between threads."""

    def __init__(self, bucket: KeyBucket, master: MasterKey, at_hand: int = KEYS_AT_HAND) -> None:
        self._bucket = bucket
        self._master = master
        self._at_hand = at_hand
        self._keys: OrderedDict[str, bytes] = OrderedDict()
        self._forgotten = 0
        self._lock = Lock()

    def existing(self, names: Iterable[str]) -> dict[str, bytes]:
        """The keys there are, by name; a name without one (never made, or destroyed) is left out.

        Raises MasterKeyError when another master key wrapped one of them, SealBrokenError when it was altered.
        """
        wanted = set(names)
        with self._lock:
            forgotten = self._forgotten
            found = {name: self._keys[name] for name in wanted if name in self._keys}
            for name in found:
                self._keys.move_to_end(name)
        if missing := wanted - found.keys():
            wrapped = self._bucket.get_many(list(missing))
            read = {name: self._master.unwrap(key, _context(name)) for name, key in wrapped.items()}
            self._keep(read, forgotten)
            found |= read
        return found

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

    def _keep(self, keys: dict[str, bytes], forgotten: int) -> None:
        """Keeps `keys` at hand, unless one was destroyed since they were asked for: it may be among them."""
        with self._lock:
            if forgotten == self._forgotten:
                self._keys.update(keys)
            while len(self._keys) > self._at_hand:
                self._keys.popitem(last=False)


def _context(name: str) -> bytes:
    return b"rapport key|" + name.encode()
