"""`rapport up`, `demo`, `status`, `rebuild`: the node itself."""

import contextlib
import socket
import threading
from typing import Annotated, Any

import typer
import uvicorn

from api.cli import output
from api.cli.client import address, bind, connect, server_config
from api.cli.parameters import JSON
from api.demo import run_demo
from api.generator import DEFAULT_CANDIDATES
from api.node import Node, NodeError
from infra.nats_server import EmbeddedServer


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
    given = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    settings = context.obj.model_copy(update=given)
    listener = bind(settings)
    with contextlib.closing(listener), Node(settings) as node:
        url = address(listener)
        withdraw = node.announce(url)
        output.say(f"Rapport serves {settings.data} at {url} (API: {url}/openapi.json); Ctrl-C stops it")
        try:
            _serve(node, listener)
        finally:
            withdraw()
    output.say("stopped")


def _serve(node: Node, listener: socket.socket) -> None:
    """Serves until interrupted. Raises NodeError when the embedded nats-server ends before."""
    http = uvicorn.Server(server_config(node))
    ended = threading.Event()

    def watch(server: EmbeddedServer) -> None:
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
    run_demo(candidates, seed)


def status(context: typer.Context, json: JSON = False) -> None:
    """The node on one screen. Exit code 1 when it is not ready."""
    with connect(context.obj) as client:
        found = client.send("GET", "/v1/status")
    if json:
        output.as_json(found)
    else:
        _show_status(found)
    raise typer.Exit(0 if found["ready"] else 1)


def _show_status(found: dict[str, Any]) -> None:
    ledger, views = found["ledger"], found["views"]
    output.table(
        "Node",
        ["what", "value"],
        [
            ["ready", found["ready"] or ", ".join(found["reasons"])],
            ["data folder", found["data"]],
            ["ledger events", ledger["last_seq"]],
            ["ledger size", f"{ledger['size_bytes'] / 1e6:,.1f} MB"],
            ["replicas", _replicas(ledger)],
            ["fsync before acknowledging", ledger["sync"]],
            ["duplicate window", f"{ledger['duplicate_window_s']:g} s"],
            ["nats-server", ledger["server_version"]],
            ["views stand at event", views["checkpoint"]],
            ["views behind by", views["lag_events"]],
            ["dead letters", len(views["dead_letters"])],
            ["master key", found["master_key_id"]],
        ],
    )
    output.table("Views", ["table", "rows"], ([name, rows] for name, rows in views["rows"].items()))


def _replicas(ledger: dict[str, Any]) -> str:
    if ledger.get("leader") is None:  # no cluster, or a node of an older version
        return str(ledger["replicas"])
    held = [f"{ledger['leader']} leads", *(f"{name} {how}" for name, how in sorted(ledger["followers"].items()))]
    return f"{ledger['replicas']} ({', '.join(held)})"


def rebuild(
    context: typer.Context,
    view: Annotated[str | None, typer.Argument(help="One view; all of them if unset.")] = None,
    json: JSON = False,
) -> None:
    """Build views anew from the mirror, beside the live ones, and swap."""
    with connect(context.obj) as client, output.err.status("rebuilding…"):
        found = client.send("POST", "/v1/views/rebuild", view=view)
    if json:
        output.as_json(found)
    else:
        output.say(f"rebuilt {', '.join(found['rebuilt'])}")
