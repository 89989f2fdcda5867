"""Keys in memory: as many as allowed, and none that was destroyed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from infra.crypto import sealing
from infra.crypto.keyring import GIVEN_UP, Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import DamagedKey, SealBrokenError, new_key
from infra.jetstream import Bucket, kv
from tests.servers import fresh_name, shared_connection

NAMES = [f"candidate-{number:032x}" for number in range(300)]


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(shared_connection(), fresh_name("keys"))


def test_keys_beyond_the_bound_are_read_again_and_those_used_last_stay(bucket: Bucket) -> None:
    master = LocalMasterKey(new_key())
    keys = Keyring(bucket, master).make(NAMES)
    keyring = Keyring(bucket, master, at_hand=10)
    assert keyring.existing(NAMES) == keys
    assert len(keyring._keys) == 10
    keyring.existing(NAMES[:10])
    keyring.existing(NAMES[:1])
    keyring.existing(NAMES[10:19])
    assert set(keyring._keys) == {NAMES[0], *NAMES[10:19]}
    assert keyring.existing([*NAMES, "candidate-without"]) == keys
    fresh = Keyring(bucket, master, at_hand=10)
    assert fresh.make([*NAMES, "candidate-" + "f" * 32]).items() >= keys.items()


def test_a_destroyed_key_is_nowhere_in_memory(bucket: Bucket) -> None:
    keyring = Keyring(bucket, LocalMasterKey(new_key()))
    keys = keyring.make(NAMES[:2])
    sealed = sealing.seal(keys[NAMES[0]], b"x", b"")
    assert sealing._cipher.cache_info().currsize > 0
    bucket.destroy(NAMES[0])
    keyring.forget(NAMES[0])
    assert keyring.existing(NAMES[:2]) == {NAMES[1]: keys[NAMES[1]]}
    assert sealing._cipher.cache_info().currsize <= 1  # the master key's, for what was just read
    with pytest.raises(SealBrokenError):
        sealing.unseal(keys[NAMES[1]], sealed, b"")


class Asked:
    """A bucket that notes which keys were looked up."""

    def __init__(self, bucket: Bucket) -> None:
        self.looked_up: list[str] = []
        self._bucket = bucket
        self.create_many, self.pages, self.revisions = bucket.create_many, bucket.pages, bucket.revisions

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        self.looked_up += keys
        return self._bucket.get_many(keys)


def go_on() -> bool:
    return True


def test_keys_read_ahead_are_those_there_are_and_none_is_looked_up(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among what is no key, and what another master key wrapped; a key made later is looked up as ever."""
    monkeypatch.setattr(kv, "PAGE_IN_ORDER", 100)
    master, asked = LocalMasterKey(new_key()), Asked(bucket)
    keys = Keyring(bucket, master).make(NAMES)
    bucket.create(GIVEN_UP, b"3")
    other = Keyring(bucket, LocalMasterKey(new_key())).make(["candidate-other"])
    shared_connection().call(bucket._publish(NAMES[0], b"", None, kv._MARKER))  # as others delete: the key stays there
    bucket.destroy(NAMES[1])
    keyring = Keyring(asked, master)
    keyring.read_ahead(10_000, go_on)
    assert keyring.existing(NAMES[2:]) == {name: keys[name] for name in NAMES[2:]}
    assert asked.looked_up == []
    assert keyring.existing(NAMES[:2]) == {}
    assert isinstance(keyring.existing(other)["candidate-other"], DamagedKey)
    later = Keyring(bucket, master).make(["candidate-later"])
    assert keyring.existing(later) == later


@pytest.mark.parametrize(("events", "at_hand"), [(299, 1_000), (10_000, 299)], ids=["few events", "no room"])
def test_keys_are_not_read_ahead_where_looking_up_is_less_work(bucket: Bucket, events: int, at_hand: int) -> None:
    master = LocalMasterKey(new_key())
    Keyring(bucket, master).make(NAMES)
    keyring = Keyring(bucket, master, at_hand)
    keyring.read_ahead(events, go_on)
    assert not keyring._keys


def test_keys_at_hand_are_not_read_ahead_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that tries again each second, for want of room on the disk, does not read them each second."""
    keyring = Keyring(bucket, LocalMasterKey(new_key()))
    keyring.make(NAMES)
    monkeypatch.setattr(bucket, "pages", None)
    keyring.read_ahead(10_000, go_on)


def test_reading_ahead_ends_when_told_to(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    master = LocalMasterKey(new_key())
    Keyring(bucket, master).make(NAMES)
    monkeypatch.setattr(kv, "PAGE_IN_ORDER", 100)
    keyring = Keyring(bucket, master)
    keyring.read_ahead(10_000, lambda: False)
    assert 0 < len(keyring._keys) <= 100


def test_a_key_destroyed_while_keys_are_read_ahead_is_not_kept(bucket: Bucket) -> None:
    master, asked = LocalMasterKey(new_key()), Asked(bucket)
    Keyring(bucket, master).make(NAMES)

    def erased_meanwhile() -> Iterator[dict[str, bytes]]:
        for page in bucket.pages():
            bucket.destroy(NAMES[0])
            keyring.forget(NAMES[0])
            yield page

    asked.pages = erased_meanwhile
    keyring = Keyring(asked, master)
    keyring.read_ahead(10_000, go_on)
    assert keyring.existing(NAMES[:2]).keys() == {NAMES[1]}


def test_a_key_destroyed_while_it_was_being_read_is_not_kept() -> None:
    """It was read before it was destroyed, and comes in after it was forgotten."""
    shared = Bucket(shared_connection(), fresh_name("keys"))
    master = LocalMasterKey(new_key())
    Keyring(shared, master).make(NAMES[:2])

    class Slow(Asked):
        """The bucket, with an erasure by another thread between a read and its answer."""

        def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
            found = shared.get_many(keys)
            if NAMES[0] in found:
                shared.destroy(NAMES[0])
                keyring.forget(NAMES[0])
            return found

    keyring = Keyring(Slow(shared), master)
    keyring.existing(NAMES[:2])
    assert keyring.existing(NAMES[:2]).keys() == {NAMES[1]}
