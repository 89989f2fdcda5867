"""`rapport token`: what a role presents over HTTP."""

from typing import Annotated

import typer

from api.http.roles import Role, Tokens


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(token)


def token(
    context: typer.Context,
    role: Annotated[Role | None, typer.Argument(help="Whose. Default: the role that --role names, else admin.")] = None,
) -> None:
    """Print a role's token, from the data folder. Whoever has it may do what the role may: docs/roles.md.

    Example: curl --oauth2-bearer "$(rapport token analyst)" http://127.0.0.1:8642/v1/status
    """
    from api.node import prepare_folder

    prepare_folder(context.obj.data)
    typer.echo(Tokens.of(context.obj.tokens_file)[role or Role(context.obj.role)])
