"""What `PERSISTENCE_MODULE=infra.jetstream` gives the library."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from eventsourcing.persistence import InfrastructureFactory, NotSupportedError, TrackingRecorder
from eventsourcing.utils import Environment, EnvType

from infra.jetstream.access import Access, access
from infra.jetstream.connection import Connection
from infra.jetstream.recorder import JetStreamAggregateRecorder, JetStreamApplicationRecorder
from infra.jetstream.stream import Stream, declare_stream


class Factory(InfrastructureFactory[TrackingRecorder]):
    """Recorders on the server and streams that the environment names.

    `NATS_URL` (default nats://127.0.0.1:4222, several separated by commas), `NATS_STREAM` (default LEDGER, or the
    environment's name in capitals), `NATS_PREFIX` (default the stream's name in lower case), `NATS_REPLICAS`
    (default 1). The login is in the URL, or `NATS_TOKEN`, `NATS_CREDENTIALS` (a .creds file) or `NATS_NKEY` (a file
    with a seed); TLS is `NATS_CA`, `NATS_CERT`, `NATS_KEY` (files) and `NATS_SERVER_NAME`; see `access`. Snapshots go
    to a stream of their own, `<NATS_STREAM>_SNAPSHOTS`. Connects on first use; `close()` ends the connection.
    """

    NATS_URL = "NATS_URL"
    NATS_TOKEN = "NATS_TOKEN"  # noqa: S105 - a variable's name
    NATS_CREDENTIALS = "NATS_CREDENTIALS"
    NATS_NKEY = "NATS_NKEY"
    NATS_CA = "NATS_CA"
    NATS_CERT = "NATS_CERT"
    NATS_KEY = "NATS_KEY"
    NATS_SERVER_NAME = "NATS_SERVER_NAME"
    NATS_STREAM = "NATS_STREAM"
    NATS_PREFIX = "NATS_PREFIX"
    NATS_REPLICAS = "NATS_REPLICAS"

    def __init__(self, env: Environment | EnvType | None = None) -> None:
        super().__init__(env)
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The one connection of this factory's recorders.

        Raises OperationalError when it cannot be made, AccessError when the environment does not say how.
        """
        if self._connection is None:
            self._connection = Connection(self._access())
        return self._connection

    def aggregate_recorder(self, purpose: str = "events") -> JetStreamAggregateRecorder:
        """A recorder of events (on the ledger's stream) or of snapshots (on theirs)."""
        suffix = "" if purpose == "events" else f"_{purpose.upper()}"
        return JetStreamAggregateRecorder(self.connection, self._stream(suffix), purpose=purpose)

    def application_recorder(self) -> JetStreamApplicationRecorder:
        """The recorder of the ledger."""
        return JetStreamApplicationRecorder(self.connection, self._stream(""))

    def tracking_recorder(
        self,
        tracking_recorder_class: type[TrackingRecorder] | None = None,  # noqa: ARG002 - the library's signature
    ) -> NoReturn:
        """Not offered: positions are stored with what was made of the events. Raises NotSupportedError."""
        raise NotSupportedError("JetStream has no tracking recorder; projections keep their checkpoint in DuckDB")

    def process_recorder(self) -> NoReturn:
        """Not offered, for the same reason. Raises NotSupportedError."""
        raise NotSupportedError("JetStream has no process recorder; projections keep their checkpoint in DuckDB")

    def close(self) -> None:
        """Closes the connection; the recorders made are of no use any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _access(self) -> Access:
        def file(name: str) -> Path | None:
            path = self.env.get(name)
            return Path(path) if path else None

        return access(
            self.env.get(self.NATS_URL) or "nats://127.0.0.1:4222",
            token=self.env.get(self.NATS_TOKEN),
            credentials=file(self.NATS_CREDENTIALS),
            nkey=file(self.NATS_NKEY),
            ca=file(self.NATS_CA),
            cert=file(self.NATS_CERT),
            key=file(self.NATS_KEY),
            server_name=self.env.get(self.NATS_SERVER_NAME),
        )

    def _stream(self, suffix: str) -> Stream:
        name = self.env.get(self.NATS_STREAM) or self.env.name.upper() or "LEDGER"
        prefix = self.env.get(self.NATS_PREFIX) or name.lower()
        replicas = int(self.env.get(self.NATS_REPLICAS) or 1)
        return declare_stream(self.connection, name + suffix, prefix + suffix.lower(), replicas)
