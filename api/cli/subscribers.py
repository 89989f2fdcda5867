"""`rapport subscribers`: who follows the feed, by a login of their own or by webhooks."""

from json import dumps as quoted
from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, place

app = typer.Typer(help="Subscribers of the feed: see docs/subscribers.md.", no_args_is_help=True)

PATH = "/v1/subscribers"

PYTHON = """\
import asyncio
import json

import nats  # pip install "nats-py[nkeys]"


async def main() -> None:
    client = await nats.connect({servers}, nkeys_seed={key})
    stream = client.jetstream(prefix={api})
    done = 0
    while True:
        await client.request({reset}, timeout=5)  # anew, behind what is acknowledged
        subscription = await stream.pull_subscribe_bind({name}, {stream})
        expected = 1
        while expected:
            try:
                messages = await subscription.fetch(100, timeout=5)
            except TimeoutError:
                continue
            for message in messages:
                place = message.metadata.sequence
                if place.consumer != expected:  # one before it was lost on its way
                    expected = 0
                    break
                expected += 1
                if place.stream > done:
                    event = json.loads(message.data)
                    print(place.stream, event["type"], event["id"], flush=True)
                    done = place.stream
                await message.ack()  # when it is done, not before
        await subscription.unsubscribe()


asyncio.run(main())
"""

NATS = "nats --server {servers} --nkey {key} --js-api-prefix {api} consumer next {stream} {name} --count 100 --ack"

Name = Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")]


@app.command("add")
def add(
    context: typer.Context,
    name: Name,
    types: Annotated[
        list[str] | None, typer.Option(help="Only these, such as pool.joined or 'candidate.*'; may be repeated.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin behind this position; 0 for all that is kept. Default: what comes.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Post each message there, as a Standard Webhook. Default: it pulls for itself.")
    ] = None,
    allow_private: Annotated[
        bool, typer.Option(help="Also to addresses of private networks, and http:// on this machine.")
    ] = False,
    json: JSON = False,
) -> None:
    """Add a subscriber, and show its secret this once.

    Example: rapport subscribers add crm-sync --types 'candidate.*' --types 'compliance.>'
    """
    document = {"name": name, "types": types or [], "after": after, "url": url, "allow_private": allow_private}
    with connect(context.obj) as client:
        made = client.send("POST", PATH, json=document)
    _show(made, json=json)


@app.command("rotate")
def rotate(context: typer.Context, name: Name, json: JSON = False) -> None:
    """Give it another secret. A login before is refused at once; webhooks are signed by both for 24 hours."""
    with connect(context.obj) as client:
        made = client.send("POST", PATH + place(name, "rotate"))
    _show(made, json=json)


@app.command("list")
def list_(context: typer.Context, json: JSON = False) -> None:
    """Who there is, how many messages behind, and when it was last heard of."""
    with connect(context.obj) as client:
        found = client.send("GET", PATH)
    if json:
        output.as_json(found)
        return
    output.table(
        "Subscribers",
        ["name", "by", "types", "behind by", "acknowledged", "last seen", "state"],
        (
            [s["name"], s["url"] or s["kind"], s["types"] or "all", s["lag"], s["acknowledged"], s["seen_at"], state(s)]
            for s in found["subscribers"]
        ),
        whole=("name", "last seen"),
    )


@app.command("deliveries")
def deliveries(
    context: typer.Context,
    name: Name,
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="How many of the last.")] = 20,
    json: JSON = False,
) -> None:
    """The last webhooks that were posted to it, an entry an attempt."""
    with connect(context.obj) as client:
        found = client.send("GET", PATH + place(name, "deliveries"), limit=count)
    if json:
        output.as_json(found)
        return
    output.table(
        f"Deliveries to {name}",
        ["time", "position", "id", "attempt", "answer", "ms", "again in s"],
        (
            [d["at"], d["position"], d["id"], d["attempt"], _answer(d), d["duration_ms"], d["again_in_s"]]
            for d in found["deliveries"]
        ),
        whole=("time",),
    )


@app.command("pause")
def pause(context: typer.Context, name: Name, json: JSON = False) -> None:
    """Post nothing to it for now; what is published meanwhile waits."""
    _change(context, name, "pause", json=json)


@app.command("resume")
def resume(context: typer.Context, name: Name, json: JSON = False) -> None:
    """Post to it again, from where it had come to."""
    _change(context, name, "resume", json=json)


@app.command("remove")
def remove(context: typer.Context, name: Name, json: JSON = False) -> None:
    """Remove it, with its login and its place on the feed."""
    with connect(context.obj) as client:
        found = client.send("DELETE", PATH + place(name))
    if json:
        output.as_json(found)
    else:
        output.say(f"{name} is no subscriber any more")


def state(subscriber: dict[str, Any]) -> str:
    """In words."""
    if subscriber["lag"] is None:
        return "has no consumer on the feed; start the node again to make one"
    return f"paused: {subscriber['paused']}" if subscriber["paused"] else "on"


def python_of(made: dict[str, Any]) -> str:
    """A program that reads the feed as this subscriber, whose key lies in a file."""
    named = _named(made) | {"reset": "{api}.CONSUMER.RESET.{stream}.{name}".format(**made)}
    return PYTHON.format(**{name: quoted(value) for name, value in named.items() if isinstance(value, str)})


def _named(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "key": f"{made['name']}.nk"}


def _change(context: typer.Context, name: str, what: str, *, json: bool) -> None:
    with connect(context.obj) as client:
        found = client.send("POST", PATH + place(name, what))
    if json:
        output.as_json(found)
    else:
        output.say(f"{name} is paused" if found["paused"] else f"{name} is on")


def _answer(delivery: dict[str, Any]) -> str:
    return delivery["failure"] or str(delivery["status"])


def _show(made: dict[str, Any], *, json: bool) -> None:
    if json:
        output.as_json(made)
    elif made["kind"] == "webhook":
        output.say(f"{made['name']}: messages from position {made['start']} on are posted to {made['url']}")
        output.say(f"its secret, not shown again: {made['secret']}")
    else:
        _show_login(made)


def _show_login(made: dict[str, Any]) -> None:
    named = _named(made)
    output.say(f"{made['name']} may read the feed from position {made['start']} on")
    output.say(f"its key, not shown again; put it into the file {named['key']}, for its owner only: {made['secret']}")
    if (configuration := made["configuration"]) is not None:
        output.say("\nto be put into the servers' configuration, where the ledger's account stands as that name:")
        output.say(f"exports of that account:\n{configuration['exports']}\naccounts:\n{configuration['accounts']}")
    if not made["stays"]:
        output.say("its port is another after the next start of the node, unless RAPPORT_NATS_PORT sets one")
    output.say(f"\nwith the nats CLI:\n{NATS.format(**named)}\n\nin Python:\n{python_of(made)}")
