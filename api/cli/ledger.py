"""`rapport verify`, `rapport restore`: is the ledger what the mirror saw, and what to do if it is not."""

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from api.cli import output
from api.cli.client import RequestRefused, running
from api.cli.parameters import JSON
from api.failures import NodeError
from infra.settings import Settings

if TYPE_CHECKING:
    from api.restoring import Plan

UNCHECKED = 2


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command("verify")(verify_command)
    app.command("restore")(restore_command)


def verify_command(context: typer.Context, json: JSON = False) -> None:
    """Compare the whole ledger with the mirror, and the log's tree and last checkpoint with both; name every event that
    is missing, altered, foreign or broken.

    Works beside a running node, and without one, also when the node refuses to start. Changes nothing. Exit code 0:
    all is well; 1: something was found; 2: it could not be checked.
    """
    try:
        with _items(context.obj) as items:
            clean = _as_json(items) if json else _as_text(items)
    except _cannot_check() as error:
        output.err.print(f"rapport: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(UNCHECKED) from None
    raise typer.Exit(0 if clean else 1)


def _cannot_check() -> tuple[type[Exception], ...]:
    import duckdb
    from eventsourcing.persistence import PersistenceError

    from infra.duckdb import DatabaseLocked
    from infra.nats_server import ServerStartError

    return (NodeError, RequestRefused, ServerStartError, DatabaseLocked, PersistenceError, duckdb.Error)


@contextlib.contextmanager
def _items(settings: Settings) -> Iterator[Iterable[dict[str, Any]]]:
    with running(settings) as client:
        if client is not None:
            yield client.lines("/v1/ledger/verification")
            return
    from api.evidence import evidence
    from api.http.ledger import as_line
    from api.node import last_checkpoint
    from api.restoring import unrecognised_in
    from consumers.verification import verify

    with evidence(settings) as found:
        unknown = unrecognised_in(found, settings)
        yield map(
            partial(as_line, unrecognised=unknown),
            verify(found.connection, found.stream, found.cursor, last_checkpoint(settings)),
        )


def _as_text(items: Iterable[dict[str, Any]]) -> bool:
    with _bar(quiet=False) as bar:
        task = bar.add_task("compared", total=None)
        for item in items:
            match item:
                case {"progress": progress}:
                    bar.update(task, completed=progress["done"], total=progress["total"])
                case {"finding": finding}:
                    output.say(_sentence(finding))
                case {"summary": summary}:
                    bar.stop()
                    output.say(_conclusion(summary))
                    return bool(summary["clean"])
                case {"error": error}:
                    raise RequestRefused(error)
    raise RequestRefused("the node stopped before everything was compared; run the command again")


def _as_json(items: Iterable[dict[str, Any]]) -> bool:
    """One document, written as it comes: there may be more findings than fit in memory."""
    first = True
    output.raw('{"findings":[')
    try:
        for item in items:
            match item:
                case {"finding": finding}:
                    output.raw(("" if first else ",") + output.json_of(finding))
                    first = False
                case {"summary": summary}:
                    output.raw('],"summary":' + output.json_of(summary) + "}\n")
                    return bool(summary["clean"])
                case {"error": error}:
                    raise RequestRefused(error)
        raise RequestRefused("the node stopped before everything was compared; run the command again")
    except BaseException as error:
        output.raw('],"error":' + output.json_of(str(error) or "interrupted") + "}\n")
        raise


def _sentence(finding: dict[str, Any]) -> str:
    first, last = finding["seq"], finding["last_seq"]
    place = f"{first:,}" if first == last else f"{first:,} to {last:,}"
    what = " ".join(
        str(part)
        for part in (
            finding.get("name"),
            f"version {finding['version']}" if "version" in finding else None,
            finding.get("type"),
        )
        if part is not None
    )
    hashes = "".join(
        f"; {side} {finding[f'{side}_hash']}" for side in ("ledger", "mirror") if f"{side}_hash" in finding
    )
    return f"{finding['kind']} {place} {what}: {finding['detail']}{hashes}".replace(" :", ":")


def _conclusion(summary: dict[str, Any]) -> str:
    rate = summary["events"] / max(summary["duration_s"], 1e-3)
    checked = (
        f"{summary['events']:,} events compared in {summary['duration_s']:.1f} s ({rate:,.0f} events/s), the ledger "
        f"ends at {summary['ledger_last_seq']:,}, the mirror at {summary['checkpoint']:,}"
    )
    if summary["purged"]:
        checked += f"; of {summary['purged']:,} purged events the hash is left"
    if summary["withheld"]:
        checked += (
            f"; the server counts what it cannot read (events: {summary['withheld']:,}): copy the data folder before "
            "it is restarted, for it may then cut off what lies behind in the same file"
        )
    if summary["keys_lost"]:
        checked += f"; the keys of {summary['keys_lost']:,} candidates or pools cannot be read"
        if summary["keys_damaged"]:
            checked += f" (damaged: {', '.join(summary['keys_damaged'])}; put them back from a backup of KV_keys)"
    if unknown := summary.get("unrecognised"):  # not of a node of an older version
        checked += f"; {unrecognised(unknown)}"
    found = ", ".join(f"{count:,} {kind}" for kind, count in summary["findings"].items())
    return f"{checked}: {found or 'nothing is missing, altered or foreign'}"


def unrecognised(found: dict[str, Any]) -> str:
    """What erasures do not keep away any more, in words."""
    since = output.moment(found["since"])
    return f"{found['identifiers']:,} identifiers of people erased before {since} UTC are not recognised any more"


def restore_command(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Go on although keys are gone, and with them what they sealed.")
    ] = False,
    accept_gaps: Annotated[
        bool, typer.Option("--accept-gaps", help="Go on although events are gone that the mirror never saw.")
    ] = False,
    without_suppressions: Annotated[
        bool,
        typer.Option(
            "--without-suppressions", help="Go on although erased people are not recognised any more when they come up."
        ),
    ] = False,
    json: JSON = False,
) -> None:
    """Put back what the ledger has lost, from the mirror: same events, same places, same times.

    Shows what it would do and asks. Only possible while the ledger holds the beginning of what the mirror saw and
    nothing else. Stop the node first. May be repeated whenever it was interrupted.
    """
    from api.evidence import evidence
    from api.restoring import plan, restore
    from consumers.restoring import RestoreRefused

    with running(context.obj) as client:
        if client is not None:
            raise NodeError("a node serves this data folder; stop it, then restore")
    with evidence(context.obj) as found, _bar(quiet=json) as bar:
        task = bar.add_task("comparing", total=None)
        planned = plan(context.obj, found, lambda p: bar.update(task, completed=p.done, total=p.total))
        if planned.is_nothing:
            _answer(planned, json=json)
            return
        bar.stop()
        for sentence in () if json else planned.sentences():
            output.say(sentence)
        planned.require(without_keys=without_keys, accept_gaps=accept_gaps, without_suppressions=without_suppressions)
        if not (yes or _confirmed()):
            raise RestoreRefused("nothing was changed")
        bar.start()
        restore(context.obj, found, planned, _advance(bar, task, planned))
    _answer(planned, json=json)


def _advance(bar: Bar, task: TaskID, planned: "Plan") -> Any:
    lost = planned.survey.lost
    first, total = (lost[0], planned.survey.census.events) if lost else (1, 0)
    bar.reset(task, description="putting back", total=total)
    return lambda seq: bar.update(task, completed=seq - first + 1)


def _confirmed() -> bool:
    try:
        return bool(typer.prompt("type yes to go on", err=True).strip().lower() == "yes")
    except typer.Abort:
        return False


def _answer(planned: "Plan", *, json: bool) -> None:
    if json:
        output.as_json(planned.document())
    elif planned.is_nothing:
        output.say("nothing is lost, nothing was changed")
    else:
        output.say("restored; `rapport verify` says whether all is well")


def _bar(*, quiet: bool) -> Bar:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Bar(*columns, console=output.err, transient=True, disable=quiet or not output.err.is_terminal)
