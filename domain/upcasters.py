"""Old schema versions read as the newest: one pure step per version, in one table.

A step takes the fields of an event as stored at `(kind, type, v)` and returns them as version `v + 1` has them.
Stored bytes are never rewritten; golden files of every version ever written hold the steps.
"""

from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]

UPCASTERS: dict[tuple[str, str, int], Callable[[Fields], Fields]] = {}


class UnknownEventError(ValueError):
    """The ledger holds a type or a schema version that this version of Rapport does not know."""


def upcast(kind: str, type_: str, v: int, newest: int, fields: Fields) -> Fields:
    """`fields` as the `newest` version has them.

    Raises UnknownEventError when `v` is newer than this code or a step is missing.
    """
    if v > newest:
        raise UnknownEventError(f"{kind} event {type_} has schema version {v}, known up to {newest}; upgrade Rapport")
    for step in range(v, newest):
        try:
            fields = UPCASTERS[kind, type_, step](fields)
        except KeyError:
            raise UnknownEventError(f"no upcaster for {kind} event {type_} from version {step}") from None
    return fields
