"""One key per aggregate, wrapped by the master key, in a bucket of its own.

Destroying a key is what erasure rests on: without it the personal part of every event of that aggregate, in any
copy of the ledger, stays closed for good.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from infra.crypto import sealing
from infra.crypto.master import MasterKey

PEPPER = "pepper"
GIVEN_UP = "given-up"
"""Entry that says how many keys an operator knows to be lost for good."""


class KeyBucket(Protocol):
    """What the keyring needs of its store; `infra.jetstream.Bucket` is one."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]: ...
    def create_many(self, items: dict[str, bytes]) -> dict[str, bool]: ...


class Keyring:
    """Unwrapped keys at hand, wrapped ones in `bucket`. Safe to share between threads."""

    def __init__(self, bucket: KeyBucket, master: MasterKey) -> None:
        self._bucket = bucket
        self._master = master
        self._keys: dict[str, bytes] = {}

    def existing(self, names: Iterable[str]) -> dict[str, bytes]:
        """The keys there are, by name; a name without one (never made, or destroyed) is left out.

        Raises MasterKeyError when another master key wrapped one of them, SealBrokenError when it was altered.
        """
        wanted = set(names)
        if missing := [n for n in wanted if n not in self._keys]:
            for name, wrapped in self._bucket.get_many(missing).items():
                self._keys[name] = self._master.unwrap(wrapped, _context(name))
        return {n: self._keys[n] for n in wanted if n in self._keys}

    def make(self, names: Iterable[str]) -> dict[str, bytes]:
        """Keys for new aggregates, stored durably; where one was made before, that one.

        Raises as `existing` does.
        """
        wanted = set(names)
        if unknown := wanted - self._keys.keys():
            fresh = {n: sealing.new_key() for n in unknown}
            created = self._bucket.create_many({n: self._master.wrap(key, _context(n)) for n, key in fresh.items()})
            self._keys.update({n: fresh[n] for n, won in created.items() if won})
        return self.existing(wanted)

    def pepper(self) -> bytes:
        """The secret under which claims are hashed, shared by every node of the ledger, made on first use."""
        return (self.existing([PEPPER]) or self.make([PEPPER]))[PEPPER]

    def forget(self, name: str) -> None:
        """Drops `name` from memory, after its key was destroyed in the bucket."""
        self._keys.pop(name, None)


def _context(name: str) -> bytes:
    return b"rapport key|" + name.encode()
