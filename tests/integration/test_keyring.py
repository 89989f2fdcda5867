"""Keys in memory: as many as allowed, and none that was destroyed."""

from __future__ import annotations

import pytest

from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import SealBrokenError, new_key
from infra.jetstream import Bucket
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


def test_a_key_destroyed_while_it_was_being_read_is_not_kept() -> None:
    """It was read before it was destroyed, and comes in after it was forgotten."""
    shared = Bucket(shared_connection(), fresh_name("keys"))
    master = LocalMasterKey(new_key())
    Keyring(shared, master).make(NAMES[:2])

    class Slow:
        """The bucket, with an erasure by another thread between a read and its answer."""

        create_many = shared.create_many

        def get_many(self, keys: list[str]) -> dict[str, bytes]:
            found = shared.get_many(keys)
            if NAMES[0] in found:
                shared.destroy(NAMES[0])
                keyring.forget(NAMES[0])
            return found

    keyring = Keyring(Slow(), master)
    keyring.existing(NAMES[:2])
    assert keyring.existing(NAMES[:2]).keys() == {NAMES[1]}
