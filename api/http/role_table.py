"""The tables in `docs/roles.md`: who may call what, made of what the routes declare.

python -m api.http.role_table docs/roles.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.http.app import PARTS
from api.http.reads import declared
from api.http.rights import RIGHTS
from api.http.roles import OPEN_BECAUSE, Role, roles_of

BEGIN = "## Routes\n"
"""From here on the document is made; what stands before is written by hand."""


class Row(NamedTuple):
    """One route: what it is asked by, what it is, who may, what of persons it reads, and why it is open if it is."""

    method: str
    path: str
    summary: str
    roles: tuple[Role, ...] | None
    reads: str | None
    open_because: str | None


def rows() -> Iterator[Row]:
    """Every route of the API, in the order in which the parts of the application hold them."""
    for part in PARTS:
        router: APIRouter = part.router
        for route in router.routes:
            if isinstance(route, APIRoute):
                extra: dict[str, Any] = route.openapi_extra or {}
                reads, because = declared(route), extra.get(OPEN_BECAUSE)
                for method in sorted(route.methods or ()):
                    yield Row(method, route.path_format, route.summary or "", roles_of(extra), reads, because)


def document(text: str) -> str:
    """`docs/roles.md`, of which `text` is an earlier state, with the tables as they are now."""
    return text.partition(BEGIN)[0] + "\n".join([BEGIN, *_routes(), "", "## SQL", "", *_rights(), ""])


def _routes() -> Iterator[str]:
    yield f"| route | what | reads | {' | '.join(Role)} |"
    yield "|---|---|---|" + "---|" * len(Role)
    for row in sorted(rows(), key=lambda row: (row.path, row.method)):
        may = ["open" if row.roles is None else "yes" if role in row.roles else "" for role in Role]
        what = row.summary + (f" ({row.open_because})" if row.open_because else "")
        yield f"| `{row.method} {row.path}` | {what} | {row.reads or ''} | {' | '.join(may)} |"


def _rights() -> Iterator[str]:
    yield "| role | schemas | seconds | rows | bytes of the answer | memory |"
    yield "|---|---|---|---|---|---|"
    for role, rights in RIGHTS.items():
        schemas = ", ".join(f"`{name}`" for name in rights.schemas)
        limits = f"{rights.max_seconds:g} | {rights.max_rows:,} | {rights.max_answer_bytes:,} | {rights.max_memory}"
        yield f"| {role} | {schemas} | {limits} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(document(path.read_text("utf-8")), "utf-8")
