"""`rapport pools`: who is in, who was in."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, KnownAt, Ref, actor, moment

app = typer.Typer(no_args_is_help=True, help="Talent pools, by rule and by hand.")
Pool = Annotated[str, typer.Argument(metavar="POOL", help="Name or id.")]
RULE_HELP = (
    'JSON, or @FILE: {"all": [{"tag": "python"}], "any": [{"location": "Berlin"}, {"location": "Paris"}], '
    '"none": [{"seniority": "intern"}]}. Conditions: tag, skill, role_family, source, location, seniority, '
    'contactable ({"channel": "email"}), attended, stage, last_interaction ({"older_than_days": 90}), score_at_least.'
)


@app.command("list")
def list_(context: typer.Context, as_of: AsOf = None, known_at: KnownAt = None, json: JSON = False) -> None:
    """All pools with their size."""
    with connect(context.obj) as client:
        found = client.all_pages("/v1/pools", "pools", as_of=as_of, known_at=known_at)
    if json:
        output.as_json(found)
    else:
        show_pools(found)


def show_pools(found: dict[str, Any]) -> None:
    """The pools as a table."""
    output.table(
        f"Pools as of {output.moment(found['as_of'])} (UTC)",
        ["pool", "name", "members", "created", "archived", "rule"],
        (
            [
                output.short(p["pool_id"]),
                p["name"],
                p["size"],
                p["created_at"],
                p["archived_at"],
                _in_words(p["rule"]),
            ]
            for p in found["pools"]
        ),
    )


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique, without regard to case.")],
    rule: Annotated[str, typer.Option(help=RULE_HELP)] = "{}",
    description: Annotated[str | None, typer.Option()] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Since when the rule holds. Default: now.")
    ] = None,
    json: JSON = False,
) -> None:
    """Create a pool; without a rule it holds pinned candidates only."""
    body = {"name": name, "description": description, "rule": _rule(rule), "actor": actor()}
    if since is not None:
        body["occurred_at"] = since.isoformat()
    with connect(context.obj) as client:
        found = client.send("POST", "/v1/pools", json=body)
    _done(found, f"pool {name} created ({output.short(found['pool'])}, event {found['seq']})", json)


@app.command()
def members(
    context: typer.Context, pool: Pool, as_of: AsOf = None, known_at: KnownAt = None, json: JSON = False
) -> None:
    """Who is in, or was in at a moment."""
    with connect(context.obj) as client:
        path = f"/v1/pools/{quote(pool, safe='')}/members"
        found = client.all_pages(path, "members", as_of=as_of, known_at=known_at, limit=10_000)
    if json:
        output.as_json(found)
    else:
        show_members(pool, found)


def show_members(pool: str, found: dict[str, Any], most: int | None = None) -> None:
    """The members as a table, the first `most` of them."""
    output.table(
        f"{pool}: {found['count']:,} members as of {output.moment(found['as_of'])} (UTC)",
        ["candidate", "name", "headline", "location", "joined"],
        (
            [output.short(m["canonical_id"]), output.name(m), m.get("headline"), m.get("location"), m["joined_at"]]
            for m in found["members"][:most]
        ),
    )


@app.command()
def rule(
    context: typer.Context,
    pool: Pool,
    rule: Annotated[str, typer.Argument(metavar="RULE", help=RULE_HELP)],
    json: JSON = False,
) -> None:
    """Another rule from now on."""
    with connect(context.obj) as client:
        found = client.send(
            "PUT", f"/v1/pools/{quote(pool, safe='')}/rule", json={"rule": _rule(rule), "actor": actor()}
        )
    _done(found, f"{pool}: {found['status']}", json)


def _place(context: typer.Context, pool: str, ref: str, where: str, json: bool) -> None:
    with connect(context.obj) as client:
        path = f"/v1/pools/{quote(pool, safe='')}/candidates/{quote(ref, safe='')}"
        found = client.send("PUT", path, json={"place": where, "actor": actor()})
    _done(found, f"{pool}: {where}", json)


@app.command()
def pin(context: typer.Context, pool: Pool, ref: Ref, json: JSON = False) -> None:
    """In, whatever the rule says, unless opted out."""
    _place(context, pool, ref, "pinned", json)


@app.command()
def exclude(context: typer.Context, pool: Pool, ref: Ref, json: JSON = False) -> None:
    """Out, whatever the rule says."""
    _place(context, pool, ref, "excluded", json)


@app.command()
def unpin(context: typer.Context, pool: Pool, ref: Ref, json: JSON = False) -> None:
    """Neither pinned nor excluded; the rule decides again."""
    _place(context, pool, ref, "unpinned", json)


@app.command()
def archive(context: typer.Context, pool: Pool, json: JSON = False) -> None:
    """Everybody leaves; the history stays."""
    with connect(context.obj) as client:
        found = client.send("POST", f"/v1/pools/{quote(pool, safe='')}/archive", json={"actor": actor()})
    _done(found, f"{pool}: archived", json)


def _rule(text: str) -> Any:
    try:
        raw = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        return orjson.loads(raw)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"the rule is not JSON: {error.msg}") from None


def _in_words(rule: str) -> str:
    groups = orjson.loads(rule).items()
    return "; ".join(f"{group}: {', '.join(map(_condition, found))}" for group, found in groups if found)


def _condition(predicate: dict[str, Any]) -> str:
    ((kind, value),) = predicate.items()
    return f"{kind} {'/'.join(value.values()) if kind == 'contactable' else _shown(value)}"


def _shown(value: Any) -> str:
    return " ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _done(found: dict[str, Any], sentence: str, json: bool) -> None:
    if json:
        output.as_json(found)
    else:
        output.say(sentence)
