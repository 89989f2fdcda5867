"""What `PERSISTENCE_MODULE=infra.duckdb` gives the library."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from eventsourcing.persistence import InfrastructureFactory, NotSupportedError
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from infra.duckdb.datastore import DuckDBDatastore
from infra.duckdb.tracking import DuckDBTrackingRecorder


class Factory(InfrastructureFactory[DuckDBTrackingRecorder]):
    """Tracking recorders, and views, in the DuckDB file that the environment names.

    `DUCKDB_DBNAME` is the file's path, `TRACKING_RECORDER_TOPIC` a view's class, and with `CREATE_TABLE=no` tables
    must be there already. Positions are those of the environment's name. Opens the file on first use; `close()`
    closes it. Events are not kept in DuckDB but on the ledger, `PERSISTENCE_MODULE=infra.jetstream`.
    """

    DUCKDB_DBNAME = "DUCKDB_DBNAME"
    CREATE_TABLE = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None = None) -> None:
        """Raises OSError when the environment names no file."""
        super().__init__(env)
        path = self.env.get(self.DUCKDB_DBNAME)
        if not path:
            keys = " or ".join(self.env.create_keys(self.DUCKDB_DBNAME))
            raise OSError(f"set {keys} to the path of the DuckDB file")
        self._path = Path(path)
        self._datastore: DuckDBDatastore | None = None

    @property
    def datastore(self) -> DuckDBDatastore:
        """The file that this factory's recorders share. Raises OperationalError when it cannot be opened."""
        if self._datastore is None:
            self._datastore = DuckDBDatastore(self._path)
        return self._datastore

    def tracking_recorder(
        self, tracking_recorder_class: type[DuckDBTrackingRecorder] | None = None
    ) -> DuckDBTrackingRecorder:
        """A recorder of the given class, or of the environment's."""
        if tracking_recorder_class is None:
            topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
            tracking_recorder_class = resolve_topic(topic) if topic else DuckDBTrackingRecorder
        recorder = tracking_recorder_class(self.datastore, self.env.name)
        if strtobool(self.env.get(self.CREATE_TABLE) or "yes"):
            recorder.create_table()
        return recorder

    def aggregate_recorder(self, purpose: str = "events") -> NoReturn:
        """Not offered: DuckDB holds what is made of events. Raises NotSupportedError."""
        raise NotSupportedError(f"DuckDB stores no {purpose}; use PERSISTENCE_MODULE=infra.jetstream for them")

    def application_recorder(self) -> NoReturn:
        """Not offered, for the same reason. Raises NotSupportedError."""
        raise NotSupportedError("DuckDB stores no events; use PERSISTENCE_MODULE=infra.jetstream for them")

    def process_recorder(self) -> NoReturn:
        """Not offered, for the same reason. Raises NotSupportedError."""
        raise NotSupportedError("DuckDB stores no events, so none together with a position either")

    def close(self) -> None:
        """Closes the file; the recorders made are of no use any more."""
        if self._datastore is not None:
            self._datastore.close()
            self._datastore = None
