"""The ledger: an `eventsourcing` persistence module on NATS JetStream, a fast log reader, and key-value buckets."""

from infra.jetstream.connection import Connection
from infra.jetstream.factory import Factory
from infra.jetstream.follower import Follower, RawMessage
from infra.jetstream.histories import Broken, History
from infra.jetstream.kv import Bucket
from infra.jetstream.message import LedgerCorruptedError, document
from infra.jetstream.reader import LedgerReader
from infra.jetstream.recorder import JetStreamAggregateRecorder, JetStreamApplicationRecorder
from infra.jetstream.replies import ApiError, ConnectionLost
from infra.jetstream.stream import Stream, declare_stream, describe

__all__ = [
    "ApiError",
    "Broken",
    "Bucket",
    "Connection",
    "ConnectionLost",
    "Factory",
    "Follower",
    "History",
    "JetStreamAggregateRecorder",
    "JetStreamApplicationRecorder",
    "LedgerCorruptedError",
    "LedgerReader",
    "RawMessage",
    "Stream",
    "declare_stream",
    "describe",
    "document",
]
