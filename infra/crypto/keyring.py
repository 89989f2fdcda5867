"""One key per aggregate, wrapped by the master key, in a bucket of its own.

Destroying a key is what erasure rests on: without it the personal part of every event of that aggregate, in any
copy of the ledger, stays closed for good.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Protocol

from eventsourcing.persistence import OperationalError

from infra.crypto import sealing
from infra.crypto.master import KeysMissing, MasterKey, MasterKeyError, MissingMasterKey, key_id_of, master_key
from infra.crypto.sealing import DamagedKey, SealBrokenError

PEPPER = "pepper"
GIVEN_UP = "given-up"
"""Entry that says how many keys an operator knows to be lost for good."""

CLAIMING, UNDER_WAY, MADE = "claiming", b"under way", b"made"
"""Entry that says whether claims that were lost are still being made again: some of them would pass for all."""

OWN = (PEPPER, GIVEN_UP, CLAIMING)
"""Entries of the bucket that are no keys of aggregates."""

KEYS_AT_HAND = 500_000
"""Most keys held unwrapped in memory, about 250 bytes each; of more, those used last."""


class PepperDamaged(MasterKeyError):
    """The secret of the claims is there and cannot be read."""


class KeyBucket(Protocol):
    """What the keyring needs of its store; `infra.jetstream.Bucket` is one."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]: ...
    def unknown(self, keys: Iterable[str]) -> set[str]: ...
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
        self._damaged: set[str] = set()

    def is_at_hand(self, name: str) -> bool:
        """Whether this key can be had without asking the bucket."""
        with self._lock:
            return name in self._keys

    def existing(self, names: Iterable[str]) -> dict[str, bytes]:
        """The keys there are, by name; a name without one (never made, or destroyed) is left out.

        One that was altered, cut short, or wrapped by another master key is a `DamagedKey`, which opens nothing. Raises
        KeysMissing.
        """
        wanted = set(names)
        with self._lock:
            forgotten = self._forgotten
            found = {name: self._keys.pop(name) for name in wanted if name in self._keys}
            self._keys.update(found)
        if missing := wanted - found.keys():
            wrapped = self._bucket.get_many(list(missing))
            read = {name: self._unwrapped(name, key) for name, key in wrapped.items()}
            self._keep({name: key for name, key in read.items() if not isinstance(key, DamagedKey)}, forgotten)
            found |= read
        return found

    def lost(self, names: Iterable[str]) -> dict[str, DamagedKey]:
        """Of aggregates that have events and no key, those whose key nobody destroyed: in its place, what says so.

        Whose was destroyed bears a mark. Once keys were given up by name of an operator, no other is told from them.
        """
        absent = set(names)
        lost = self._bucket.unknown(absent) if absent else set()
        if not lost or self._bucket.get_many([GIVEN_UP]):
            return {}
        with self._lock:
            self._damaged |= lost
        return {name: DamagedKey(f"the key {name} is lost; put back the bucket KV_keys from a copy") for name in lost}

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
        """The secret under which claims are hashed, shared by every node of the ledger, made on first use.

        Raises KeysMissing, or PepperDamaged.
        """
        pepper = (self.existing([PEPPER]) or self.make([PEPPER]))[PEPPER]
        if isinstance(pepper, DamagedKey):
            raise PepperDamaged(f"nobody can be found by an identifier: {pepper.reason}")
        return pepper

    @property
    def missing(self) -> str | None:
        """Which master key is not there, in a sentence with the way out; None when it is."""
        return self._master.reason if isinstance(self._master, MissingMasterKey) else None

    @property
    def master_key_id(self) -> str:
        """Of the master key that the keys are wrapped with."""
        return self._master.key_id

    @property
    def damaged(self) -> list[str]:
        """The names of keys that were found to be damaged or lost, and not to be whole since."""
        with self._lock:
            return sorted(self._damaged)

    def is_whole(self, name: str, wrapped: bytes) -> bool:
        """Whether the entry `name` of the bucket holds a key that can be used. Raises KeysMissing."""
        return not isinstance(self._unwrapped(name, wrapped), DamagedKey)

    def forget(self, name: str) -> None:
        """Drops `name` from memory, after its key was destroyed in the bucket."""
        with self._lock:
            self._forgotten += 1
            self._damaged.discard(name)
            self._keys.pop(name, None)
        sealing.forget_keys()

    def forget_all(self, which: Callable[[str], bool]) -> None:
        """As `forget`, for every name at hand that is one of those."""
        with self._lock:
            names = [name for name in self._keys if which(name)]
        for name in names:
            self.forget(name)

    def _unwrapped(self, name: str, wrapped: bytes) -> bytes:
        try:
            key = self._master.unwrap(wrapped, _context(name))
        except KeysMissing:
            raise
        except (MasterKeyError, SealBrokenError):
            with self._lock:
                self._damaged.add(name)
            return DamagedKey(f"the key {name} is damaged; put it back from a backup of the bucket KV_keys")
        if self._damaged:
            with self._lock:
                self._damaged.discard(name)
        return key

    def _readable(self, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those that are keys, and whole."""
        keys = {name: self._unwrapped(name, key) for name, key in wrapped.items()}
        return {name: key for name, key in keys.items() if not isinstance(key, DamagedKey)}

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


def keyring_of(bucket: KeyBucket, own: Mapping[str, bytes], configured: str | None, path: Path) -> Keyring:
    """Over `bucket`, with the master key in `configured` or at `path`; a keyring that says which one is missing where
    that is not the one that wrapped the keys.

    `own` are the entries of the bucket that are no keys of aggregates. Raises MasterKeyError when what is given is no
    key and none is needed yet, and PepperDamaged.
    """
    needed = key_id_of(own[PEPPER]) if PEPPER in own else None
    keyring = Keyring(bucket, master_key(configured, path, needed))
    if keyring.missing is not None and (told := _told_by_keys(bucket)) not in (needed, None):
        keyring = Keyring(bucket, master_key(configured, path, told))  # it is the pepper's entry that is damaged
    if keyring.missing is None:
        keyring.pepper()
    return keyring


def _told_by_keys(bucket: KeyBucket) -> str | None:
    """The id of the master key that wrapped most of the first keys there are."""
    first = next(bucket.pages(), {})
    ids = Counter(key_id_of(key) for name, key in first.items() if key and name not in OWN)
    return ids.most_common(1)[0][0] if ids else None


def _context(name: str) -> bytes:
    return b"rapport key|" + name.encode()
