"""Which rows a view is computed over: those a batch affects, or all of them.

A `view.sql` reads `scope_usable` (usable events of the affected records), `scope_events` (the same with
`canonical_id`, of the affected persons) and `scope_pool_events`; `gdpr_audit` reads `scope_audit_events`, in
which nothing waits behind a broken event. On a projector's connection these hold what a
batch affects; on a rebuild's connection they hold everything.
"""

from duckdb import DuckDBPyConnection

from projections import sql


def begin(connection: DuckDBPyConnection) -> None:
    """Define the scope's tables on this connection, empty."""
    for step in ("batch_tables", "joined", "usable", "scope"):
        run(connection, step)


def begin_whole(connection: DuckDBPyConnection) -> None:
    """Define the scope on this connection as everything there is."""
    for step in ("whole_tables", "joined", "usable_whole", "scope"):
        run(connection, step)


def run(connection: DuckDBPyConnection, name: str, **parameters: object) -> None:
    """Run the step `name` on the scope."""
    connection.execute(sql.load(__name__, name + ".sql"), parameters or None)
