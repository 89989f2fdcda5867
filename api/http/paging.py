"""Lists by the page, all in one way: `?limit=&after=`, and `next` in the answer, which is null on the last page."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

MOST = 10_000

After = Annotated[str | None, Query(description="`next` of the page before", max_length=100)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows of a page at most")]


NOWHERE = "after: give `next` of the page before as it is, and the same `as_of` as before"


class NoSuchPlace(Exception):
    """`after` is none of this list's places."""


def page(
    rows: Sequence[dict[str, Any]], by: str, limit: int, after: str | None
) -> tuple[Sequence[dict[str, Any]], str | None]:
    """The rows behind the one whose `by` is `after`, and what continues them. Raises NoSuchPlace."""
    start = 0
    if after is not None:
        found = (number for number, row in enumerate(rows, 1) if row[by] == after)
        if (start := next(found, -1)) < 0:
            raise NoSuchPlace(NOWHERE)
    part = rows[start : start + limit]
    return part, part[-1][by] if len(rows) > start + limit else None
