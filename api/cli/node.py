"""`rapport up`, `demo`, `status`, `rebuild`: the node itself."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from api.cli import output
from api.cli.client import RequestRefused, address, bind, connect, server_config
from api.cli.ledger import unrecognised
from api.cli.parameters import JSON
from api.cli.subscribers import state as state_of
from api.failures import NodeError
from api.generator import DEFAULT_CANDIDATES

if TYPE_CHECKING:
    from api.http.serving import Server
    from api.node import Node
    from infra.nats_server import EmbeddedServer
    from projections.computing import Progress

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command()(up)
    app.command()(demo)
    app.command()(status)
    app.command()(rebuild)


def up(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: 8642; 0 takes a free one.")] = None,
) -> None:
    """Serve the HTTP API until Ctrl-C."""
    from api.door import Door
    from api.http.at_the_door import stand
    from api.http.serving import Server
    from api.node import Node

    given = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    settings = context.obj.model_copy(update=given)
    listener = bind(settings)
    with contextlib.closing(listener), contextlib.ExitStack() as stack:
        keyless = settings.model_copy(update={"master_key": None, "signing_key": None})
        door = Door(listener, partial(stand, keyless))
        stack.callback(door.stop)
        with building_bar(quiet=False) as note:
            node = stack.enter_context(Node(settings, note, door))
        http = Server(server_config(node), door)
        url = address(listener)
        withdraw = node.announce(url)
        output.say(f"Rapport serves {settings.data} at {url} (API: {url}/openapi.json); Ctrl-C stops it")
        try:
            _serve(node, http, listener)
        finally:
            withdraw()
    output.say("stopped")


@contextlib.contextmanager
def building_bar(*, quiet: bool) -> "Iterator[Progress]":
    """A bar on standard error, if that is a terminal, from the first progress until the block ends."""
    columns = (TextColumn("building {task.description}"), BarColumn(), TaskProgressColumn())
    off = quiet or not output.err.is_terminal
    with Bar(*columns, console=output.err, transient=True, disable=off) as bar:
        task = bar.add_task("views", total=1.0, visible=False)
        yield lambda view, done: bar.update(task, description=view, completed=done, visible=True)


def _serve(node: "Node", http: "Server", listener: socket.socket) -> None:
    """Serves until interrupted. Raises NodeError when the embedded nats-server ends before."""
    ended = threading.Event()

    def watch(server: "EmbeddedServer") -> None:
        server.wait()
        ended.set()
        http.should_exit = True

    if node.server is not None:
        threading.Thread(target=watch, args=(node.server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        http.run(sockets=[listener])
    if node.server is not None and ended.is_set():
        raise NodeError(f"the embedded nats-server ended by itself (log: {node.server.log_path}); start again")


def demo(
    candidates: Annotated[int, typer.Option(min=10, help="How many people to make up.")] = DEFAULT_CANDIDATES,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """The whole path on a temporary data folder: generate, import, look at the views, replay a trail."""
    from api.demo import run_demo

    run_demo(candidates, seed)


def status(context: typer.Context, json: JSON = False) -> None:
    """The node on one screen. Exit code 1 when it is not ready."""
    with connect(context.obj) as client:
        try:
            found = client.send("GET", "/v1/status")
        except RequestRefused:
            if not (reasons := client.unready()):
                raise
            found = {"ready": False, "reasons": reasons, "data": str(context.obj.data)}
    if json:
        output.as_json(found)
    elif "ledger" in found:
        show_status(found)
    else:
        rows = [["ready", "; ".join(found["reasons"])], ["data folder", found["data"]]]
        output.table("Node, which knows no more while that lasts", ["what", "value"], rows)
    raise typer.Exit(0 if found["ready"] else 1)


def show_status(found: dict[str, Any]) -> None:
    """What a node says of itself, as tables; one of an older version says less."""
    ledger, views = found["ledger"], found["views"]
    output.table(
        "Node",
        ["what", "value"],
        [
            ["ready", found["ready"] or "; ".join(found["reasons"])],
            ["data folder", found["data"]],
            ["ledger events", ledger["last_seq"]],
            ["ledger size", f"{ledger['size_bytes'] / 1e6:,.1f} MB"],
            ["replicas", _replicas(ledger)],
            ["fsync before acknowledging", ledger["sync"]],
            ["duplicate window", f"{ledger['duplicate_window_s']:g} s"],
            ["nats-server", ledger["server_version"]],
            ["mirror stands at event", views["mirrored"]],
            ["views stand at event", views["checkpoint"]],
            ["views behind by", _lag(views)],
            ["last batch", _batch(views["batch"])],
            ["being built", _building(views["building"])],
            ["refused definitions", "; ".join(r["reason"] for r in views["refused"]) or "none"],
            ["dead letters of the views", _letters(views)],
            ["master key", found["master_key_id"]],
            *_of_newer(found),
            *_unrecognised(found),
        ],
    )
    built = {view["name"]: view["build_s"] for view in views["views"]}
    output.table(
        "Views",
        ["table", "rows", "built in s"],
        ([name, rows, built.get(name)] for name, rows in views["rows"].items()),
    )


def _unrecognised(found: dict[str, Any]) -> list[list[str]]:
    """A line where an operator has accepted that erased people are not recognised any more."""
    unknown = found.get("unrecognised")  # not of a node of an older version
    return [["suppressions", unrecognised(unknown)]] if unknown else []


def _of_newer(found: dict[str, Any]) -> Iterator[list[str]]:
    """What a node of an older version may not tell."""
    if "feed" in found:
        yield ["feed stands at", _feed(found["feed"])]
        yield from _subscribers(found["feed"])
    if "ingest" in found:
        yield ["webhooks", _ingest(found["ingest"])]
    if "keys_damaged" in found:
        yield ["damaged or lost keys", ", ".join(found["keys_damaged"]) or "none"]


def _lag(views: dict[str, Any]) -> str:
    return f"{views['lag_events']:,} events" + (f", {views['lag_s']:,.1f} s" if views["lag_events"] else "")


def _batch(batch: dict[str, Any] | None) -> str:
    if batch is None:
        return "none since the node started"
    return (
        f"{batch['events']:,} events in {batch['apply_ms']:,.1f} ms; of the last {batch['batches']}: median "
        f"{batch['apply_p50_ms']:,.1f} ms, 95% within {batch['apply_p95_ms']:,.1f} ms"
    )


def _building(building: dict[str, Any] | None) -> str:
    return f"{building['view']}, {building['done']:.0%}" if building else "nothing"


def _letters(views: dict[str, Any]) -> str:
    dead, waiting = views["dead_letters"], views["waiting_events"]
    if dead is None:
        return "unknown while the views stand still"
    return f"{dead:,}, with {waiting:,} events waiting behind; see `rapport dead-letters list`" if dead else "0"


def _ingest(ingest: dict[str, Any]) -> str:
    if ingest["failure"] is not None:
        return str(ingest["failure"])
    waiting, came = ingest["waiting"], ingest["since_start"]
    queue = f"{waiting:,} waiting" + (f", the oldest for {ingest['oldest_s']:,.1f} s" if waiting else "")
    kept = f"{ingest['dead_letters']:,} dead letters, {ingest['unknown_kinds']:,} unknown kinds"
    since = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(came.items())) or "none"
    return f"{', '.join(ingest['providers']) or 'none taken'}; {queue}; {kept}; since the start: {since}"


def _feed(feed: dict[str, Any]) -> str:
    if feed["failure"] is not None:
        return str(feed["failure"])
    how = "" if feed["relays"] else ", relayed by another node"
    return f"{feed['last']:,}, {feed['lag_events']:,} events behind the ledger{how}"


def _subscribers(feed: dict[str, Any]) -> Iterator[list[str]]:
    """A line for each, and one more when no webhook can be delivered."""
    for one in feed.get("subscribers", ()):  # none of a node of an older version
        well = f"{one['lag']} behind, last seen {output.moment(one['seen_at']) or 'never'}"
        yield [f"subscriber {one['name']}", well if one["lag"] is not None and not one["paused"] else state_of(one)]
    if feed.get("not_delivering"):
        yield ["webhooks to subscribers", feed["not_delivering"]]


def _replicas(ledger: dict[str, Any]) -> str:
    if ledger.get("leader") is None:  # no cluster, or a node of an older version
        return str(ledger["replicas"])
    held = [f"{ledger['leader']} leads", *(f"{name} {how}" for name, how in sorted(ledger["followers"].items()))]
    return f"{ledger['replicas']} ({', '.join(held)})"


def rebuild(
    context: typer.Context,
    view: Annotated[str | None, typer.Argument(help="One view, with those that rest on it; all if unset.")] = None,
    json: JSON = False,
) -> None:
    """Build views anew from the mirror, beside the live ones, and swap. Ctrl-C gives up; the next one goes on."""
    last: dict[str, Any] = {}
    with connect(context.obj) as client, building_bar(quiet=json) as note:
        try:
            with contextlib.closing(client.lines("/v1/views/rebuild", "POST", view=view)) as documents:
                for last in documents:
                    if "done" in last:
                        note(last["view"] or "", last["done"])
        except KeyboardInterrupt:
            at = f" at {last['done']:.0%}" if "done" in last else ""
            sentence = f"cancelled{at}; the views in use are as they were, and the next rebuild goes on from there"
            output.err.print(f"rapport: {sentence}", markup=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    if json:
        output.as_json(last)
    if "rebuilt" not in last:
        raise RequestRefused(last.get("error", "the node stopped before the views were built; run the command again"))
    if not json:
        output.say(f"rebuilt {', '.join(last['rebuilt'])} in {last['seconds']:.1f} s")
