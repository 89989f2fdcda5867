"""The streams: declared by us, idempotently, and read message by message from their leader."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from eventsourcing.persistence import OperationalError, ProgrammingError

from infra.jetstream.connection import Connection
from infra.jetstream.pipeline import pipelined
from infra.jetstream.replies import ApiError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_FOUND = 10037
NAME_IN_USE = 10058
STREAM_NOT_FOUND = 10059
DELETES_IN_FLIGHT = 64
MOST_OF_A_SUBJECT = 1 << 40
"""Events of one aggregate: a limit that nobody reaches, and beyond which an event would be refused rather than another
dropped. It is there for what else follows from it: a stream that has one lies in blocks of 4 MB, not 8 (nats-server,
`autoTuneFileStorageBlockSize`), and of a history that is not in memory the server reads every block whole."""
ORIGINAL_TIME = b"\r\nRapport-Recorded-At: "
"""How the one header of ours begins: on a message that was restored, when the ledger first took it."""


class StoredMessage(NamedTuple):
    """A message as the stream's leader holds it."""

    seq: int
    subject: str
    body: bytes
    recorded_at: datetime


def recorded_at(time_ns: int) -> datetime:
    """A stream's own time as a `StoredMessage` has it, to the microsecond."""
    return EPOCH + timedelta(microseconds=time_ns // 1_000)


def time_ns_of(text: str) -> int:
    """An RFC 3339 time in ns since 1970, to the microsecond. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without zone")
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


def original_time_ns(header: bytes | None, time_ns: int) -> int:
    """When the ledger first took a message, in ns since 1970.

    That is the stream's own `time_ns`, unless the message was restored and its raw header block names an earlier one.
    """
    if header is None or ORIGINAL_TIME not in header:
        return time_ns
    at = header.index(ORIGINAL_TIME) + len(ORIGINAL_TIME)
    try:
        return min(time_ns_of(header[at : header.index(b"\r", at)].decode()), time_ns)
    except ValueError:
        return time_ns


@dataclass(frozen=True)
class Stream:
    """A declared stream: `name`, and the first token(s) of all its subjects."""

    name: str
    prefix: str
    replicas: int = 1


def declare_stream(
    connection: Connection, name: str = "LEDGER", prefix: str | None = None, replicas: int = 1
) -> Stream:
    """The ledger stream, created if it is not there. The prefix defaults to the name in lower case.

    Raises ProgrammingError when a stream of that name exists with settings a ledger cannot have, OperationalError
    when the server is too old (atomic batches need 2.12).
    """
    stream = Stream(name, prefix or name.lower(), replicas)
    connection.call(ensure(connection, stream, ledger_settings(stream), before=_LEDGER_BEFORE))
    return stream


def durable_settings(stream: Stream, **own: Any) -> dict[str, Any]:
    """A stream on disk from which nothing goes by itself, and its `own` settings."""
    return {
        "name": stream.name,
        "subjects": [f"{stream.prefix}.>"],
        "storage": "file",
        "num_replicas": stream.replicas,
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_msg_size": -1,
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": False,  # erasure overwrites single messages
    } | own


def ledger_settings(stream: Stream) -> dict[str, Any]:
    """What makes a stream a ledger: everything stays, nothing is rewritten, batches are atomic."""
    return durable_settings(
        stream,
        max_msgs_per_subject=MOST_OF_A_SUBJECT,
        discard_new_per_subject=True,
        duplicate_window=120_000_000_000,
        allow_rollup_hdrs=False,
        deny_purge=True,
    )


_LEDGER_BEFORE: dict[str, Any] = {"max_msgs_per_subject": -1, "discard_new_per_subject": None}


async def ensure(
    connection: Connection, stream: Stream, settings: dict[str, Any], before: Mapping[str, Any] | None = None
) -> None:
    """Creates the stream, or checks that the one of that name has these settings.

    One that differs just where a version `before` had others is brought up to date.
    """
    try:
        # Creating what is there with these settings changes nothing, so it may be asked like a read.
        found = (await connection.read_api(f"STREAM.CREATE.{stream.name}", settings))["config"]
    except ApiError as error:
        if error.code != NAME_IN_USE:
            raise OperationalError(f"cannot declare the stream {stream.name}: {error.description}") from error
        found = (await connection.read_api(f"STREAM.INFO.{stream.name}"))["config"]
    if settings.get("allow_atomic") and not found.get("allow_atomic"):
        version = connection.client.connected_server_version
        if (version.major, version.minor) < (2, 12):
            raise OperationalError(f"the ledger needs nats-server 2.12 or newer, this is {version}")
    # A stream may persist later than it acknowledges whatever the server does for others; absent is the default.
    wanted, found = settings | {"persist_mode": "default"}, {"persist_mode": "default"} | found
    wrong = {key: found.get(key) for key, value in wanted.items() if found.get(key) != value}
    if wrong and wrong == before:
        await connection.api(f"STREAM.UPDATE.{stream.name}", found | settings)
    elif wrong:
        listing = ", ".join(f"{key} is {was!r} instead of {wanted[key]!r}" for key, was in wrong.items())
        raise ProgrammingError(f"the stream {stream.name} exists with other settings: {listing}")


async def state(connection: Connection, stream: Stream) -> dict[str, Any]:
    """The stream's own figures (`first_seq`, `last_seq`, `messages`, `bytes`, …), from its leader."""
    try:
        info: dict[str, Any] = (await connection.read_api(f"STREAM.INFO.{stream.name}"))["state"]
    except ApiError as error:
        raise _explained(stream, error) from error
    return info


class Description(NamedTuple):
    """A stream as its leader describes it."""

    messages: int
    last_seq: int
    size_bytes: int
    replicas: int
    leader: str | None
    """The server that leads the stream; None without a cluster."""
    followers: dict[str, str]
    """The servers with the other replicas: `current`, `behind` or `offline`, as the leader sees them."""
    duplicate_window_s: float
    server_version: str


def describe(connection: Connection, stream: Stream) -> Description:
    """What operators want to know of a stream."""
    info = connection.call(connection.read_api(f"STREAM.INFO.{stream.name}"))
    config, held, version = info["config"], info["state"], connection.client.connected_server_version
    cluster = info.get("cluster") or {}
    return Description(
        messages=held["messages"],
        last_seq=held["last_seq"],
        size_bytes=held["bytes"],
        replicas=config["num_replicas"],
        leader=cluster.get("leader") if "name" in cluster else None,
        followers={peer["name"]: _standing(peer) for peer in cluster.get("replicas") or ()},
        duplicate_window_s=config["duplicate_window"] / 1e9,
        server_version=f"{version.major}.{version.minor}.{version.patch}",
    )


def _standing(peer: dict[str, Any]) -> str:
    if peer.get("offline"):
        return "offline"
    return "current" if peer.get("current") else "behind"


async def get_message(connection: Connection, stream: Stream, **query: Any) -> StoredMessage | None:
    """One message from the leader: `last_by_subj=…`, or `seq=…` with or without `next_by_subj=…`; None if none."""
    try:
        return message_of(await connection.read_api(f"STREAM.MSG.GET.{stream.name}", query))
    except ApiError as error:
        if error.code == NOT_FOUND:
            return None
        raise _explained(stream, error) from error


def message_of(answer: dict[str, Any]) -> StoredMessage:
    """The message in an answer of `STREAM.MSG.GET`."""
    found = answer["message"]
    body = base64.b64decode(found.get("data", ""))
    time_ns = original_time_ns(base64.b64decode(found.get("hdrs", "")), time_ns_of(found["time"]))
    return StoredMessage(found["seq"], found["subject"], body, recorded_at(time_ns))


async def scan_subject(
    connection: Connection, stream: Stream, subject: str, seq: int = 1
) -> AsyncIterator[StoredMessage]:
    """Every message on a subject from `seq` on, one by one from the leader: slow, and never stale."""
    while (message := await get_message(connection, stream, seq=seq, next_by_subj=subject)) is not None:
        yield message
        seq = message.seq + 1


async def erase_messages(connection: Connection, stream: Stream, seqs: Iterable[int]) -> int:
    """Overwrites messages on disk with noise and removes them; how many were there. Idempotent.

    Only this way of deleting leaves no bytes behind: a purge, an eviction by a limit and `no_erase` do not.
    """

    async def erase(seq: int) -> bool:
        try:
            await connection.api(f"STREAM.MSG.DELETE.{stream.name}", {"seq": seq})
        except ApiError as error:
            if await get_message(connection, stream, seq=seq) is None:
                return False
            raise OperationalError(f"{stream.name} does not erase seq {seq}: {error.description}") from error
        return True

    return sum(await pipelined(seqs, erase, DELETES_IN_FLIGHT))


async def erase_subject(connection: Connection, stream: Stream, subject: str) -> int:
    """`erase_messages` for everything on one subject; how many messages there were."""
    seqs = [message.seq async for message in scan_subject(connection, stream, subject)]
    return await erase_messages(connection, stream, seqs)


def _explained(stream: Stream, error: ApiError) -> OperationalError:
    if error.code == STREAM_NOT_FOUND:
        return OperationalError(f"there is no stream {stream.name}")
    return OperationalError(f"the stream {stream.name} cannot be read: {error.description}")
