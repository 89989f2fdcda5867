"""Which rows a view is computed over: those a batch affects, or all of them.

A `view.sql` reads `scope_usable` (usable events of the affected records), `scope_events` (the same with
`canonical_id`, of the affected persons) and `scope_pool_events` (of which a view by person sees for sure the pins of
these persons only); `gdpr_audit` reads `scope_audit_events`, in which nothing waits behind a broken event. On a
connection that follows the ledger these hold what a batch affects; on one that builds views anew they hold everything,
of persons those of one part.
"""

from duckdb import DuckDBPyConnection

from projections import sql


def begin(connection: DuckDBPyConnection) -> None:
    """Define the scope on this connection, empty, for `projections.upkeep.refresh`."""
    for step in ("columns", "batch", "joined", "usable", "pool_events", "of_persons", "no_events", "events"):
        run(connection, step)


def begin_whole(connection: DuckDBPyConnection) -> None:
    """Define the scope on this connection as everything there is, as far as it does not rest on who is one person."""
    for step in ("columns", "whole", "joined", "whole_usable", "pool_events"):
        run(connection, step)


def begin_persons(connection: DuckDBPyConnection) -> None:
    """The rest of `begin_whole`, once there is an `identity`. Of persons there are none before the step `part`."""
    for step in ("of_persons", "no_events", "events"):
        run(connection, step)


def run(connection: DuckDBPyConnection, name: str, **parameters: object) -> None:
    """Run the step `name` on the scope."""
    connection.execute(sql.load(__name__, name + ".sql"), parameters or None)


def text() -> str:
    """The part of the scope's definition that the contents of views depend on."""
    return "\0".join(
        sql.load(__name__, f"{name}.sql") for name in ("columns", "joined", "of_persons", "events", "pool_events")
    )
