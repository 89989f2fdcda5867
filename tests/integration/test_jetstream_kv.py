"""Buckets for keys and claims: create-only under a race, and destroyed without a byte left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eventsourcing.persistence import DataError, IntegrityError

from infra.jetstream import Bucket, Connection, kv
from infra.nats_server import EmbeddedServer
from tests.servers import fresh_name, shared_server


@pytest.fixture
def bucket(connection: Connection) -> Bucket:
    return Bucket(connection, fresh_name("bucket"))


def test_values_come_back(bucket: Bucket) -> None:
    assert bucket.get("a.b/c=_-1") is None
    assert bucket.create("a.b/c=_-1", b"\x00one") is True
    assert bucket.get("a.b/c=_-1") == b"\x00one"
    assert bucket.put("other", b"two") == 2
    assert bucket.get_many(["a.b/c=_-1", "other", "none"]) == {"a.b/c=_-1": b"\x00one", "other": b"two"}
    assert bucket.load_all() == {"a.b/c=_-1": b"\x00one", "other": b"two"}


def test_pages_hold_what_is_stored_in_its_order(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted key is there with nothing, a destroyed one is not there."""
    monkeypatch.setattr(kv, "PAGE_IN_ORDER", 2)
    for number in range(5):
        bucket.create(f"key{number}", b"%d" % number)
    bucket.delete("key1")
    bucket.destroy("key2")
    assert bucket.revisions() == 4
    pages = list(bucket.pages())
    assert max(map(len, pages)) <= 2
    assert [item for page in pages for item in page.items()] == [
        ("key0", b"0"), ("key3", b"3"), ("key4", b"4"), ("key1", b"")
    ]  # fmt: skip


def test_an_empty_bucket_loads_empty(bucket: Bucket) -> None:
    assert bucket.load_all() == {}
    assert list(bucket.pages()) == []
    assert bucket.revisions() == 0
    assert bucket.get_many([]) == {}
    assert bucket.create_many({}) == {}


def test_of_many_creators_exactly_one_wins(connection: Connection) -> None:
    """16 threads on two connections, single and in bulk, over the same keys."""
    name = fresh_name("race")
    keys = [f"key{number}" for number in range(40)]
    with Connection(shared_server().url) as second:
        buckets = [Bucket(connection, name), Bucket(second, name)]

        def create(number: int) -> dict[str, bool]:
            bucket = buckets[number % 2]
            value = f"by {number}".encode()
            if number % 3:
                return bucket.create_many(dict.fromkeys(keys, value))
            return {key: bucket.create(key, value) for key in keys}

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(create, range(16)))
        for key in keys:
            winners = [number for number in range(16) if results[number][key]]
            assert len(winners) == 1
            assert buckets[0].get(key) == f"by {winners[0]}".encode()


def test_creating_many_skips_those_that_exist(bucket: Bucket) -> None:
    bucket.create("key7", b"first")
    items = {f"key{number}": b"value %d" % number for number in range(1_200)}
    made = bucket.create_many(items)
    assert [key for key, new in made.items() if not new] == ["key7"]
    assert bucket.load_all() == {**items, "key7": b"first"}
    assert bucket.get_many(items) == {**items, "key7": b"first"}


def test_an_update_needs_the_last_revision(bucket: Bucket) -> None:
    revision = bucket.put("key", b"one")
    entry = bucket.get_entry("key")
    assert entry is not None
    assert entry[:2] == (b"one", revision)
    newer = bucket.update("key", b"two", revision)
    with pytest.raises(IntegrityError):
        bucket.update("key", b"three", revision)
    entry = bucket.get_entry("key")
    assert entry is not None
    assert entry[:2] == (b"two", newer)


def test_a_deleted_key_can_be_created_again(bucket: Bucket) -> None:
    bucket.create("key", b"one")
    bucket.delete("key")
    assert bucket.get("key") is None
    assert bucket.load_all() == {}
    assert bucket.create("key", b"two") is True
    assert bucket.create("key", b"three") is False
    assert bucket.get("key") == b"two"


@pytest.mark.parametrize("key", ["", "a b", "a*", "a.>", ".a", "a.", "a..b", "ä", "a\n", "a:b"])
def test_a_key_that_nats_could_misread_is_refused(bucket: Bucket, key: str) -> None:
    for act in (
        bucket.get,
        bucket.destroy,
        bucket.delete,
        lambda k: bucket.create(k, b"x"),
        lambda k: bucket.put(k, b"x"),
    ):
        with pytest.raises(DataError, match="not allowed"):
            act(key)


def test_an_empty_value_is_refused(bucket: Bucket) -> None:
    for act in (bucket.create, bucket.put):
        with pytest.raises(DataError, match="empty"):
            act("key", b"")


@pytest.fixture
def lone(own_server: EmbeddedServer) -> Iterator[Connection]:
    with Connection(own_server.url) as connection:
        yield connection


def folder_holds(folder: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_destroyed_key_leaves_no_byte_on_disk(own_server: EmbeddedServer, lone: Connection) -> None:
    """Nor do revisions that were overwritten before; the other keys stay, over a restart."""
    bucket = Bucket(lone, "keys")
    secret, earlier, other = (secrets.token_hex(24).encode() for _ in range(3))
    bucket.create_many({f"noise{number}": b"noise" for number in range(100)})
    bucket.create("person", earlier)
    assert folder_holds(own_server.data_dir, earlier)
    bucket.put("person", secret)
    bucket.put("else", other)
    assert not folder_holds(own_server.data_dir, earlier)
    assert folder_holds(own_server.data_dir, secret)

    assert bucket.destroy("person") == 1
    assert bucket.destroy("person") == 0
    assert bucket.get("person") is None
    for _ in range(2):
        assert not folder_holds(own_server.data_dir, secret)
        assert not folder_holds(own_server.data_dir, earlier)
        assert folder_holds(own_server.data_dir, other)
        own_server.stop()
        own_server.start()
    with Connection(own_server.url) as again:
        assert Bucket(again, "keys").get_many(["person", "else"]) == {"else": other}


def test_a_bucket_keeps_as_much_history_as_asked(connection: Connection) -> None:
    bucket = Bucket(connection, fresh_name("history"), history=3)
    for number in range(5):
        bucket.put("key", b"%d" % number)
    assert bucket.get("key") == b"4"
    assert bucket.destroy("key") == 3
