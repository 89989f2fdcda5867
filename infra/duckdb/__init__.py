"""DuckDB: opening a node's file safely, and an `eventsourcing` persistence module for what projections keep in one."""

from infra.duckdb.database import DatabaseLocked, DatabaseUnreadable, open_database
from infra.duckdb.datastore import DuckDBDatastore
from infra.duckdb.factory import Factory
from infra.duckdb.tracking import DuckDBTrackingRecorder

__all__ = [
    "DatabaseLocked",
    "DatabaseUnreadable",
    "DuckDBDatastore",
    "DuckDBTrackingRecorder",
    "Factory",
    "open_database",
]
