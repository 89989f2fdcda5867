"""Old schema versions read as the newest: one pure step per version, in one table.

Stored bytes are never rewritten; golden files of every version ever written hold the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]


class UnknownEventError(ValueError):
    """The ledger holds a type or a schema version that this version of Rapport does not know."""


class UpcastError(UnknownEventError):
    """An event of an old version that the table does not bring to the newest. Names no field's value."""


def _as_they_are(fields: Fields) -> Fields:
    return fields


def _as_they_were(personal: Fields, clear: Fields) -> Fields:  # noqa: ARG001 - what a step may look at
    return personal


@dataclass(frozen=True)
class Step:
    """From a version's fields, as stored, to those of the next.

    `clear` is given the clear fields only, `personal` both parts as they were before the step. So an event whose key
    is destroyed shows the same clear fields as before, and nothing personal ever gets into the clear; a clear field
    that turns out to be personal can move to the personal ones.
    """

    clear: Callable[[Fields], Fields] = _as_they_are
    personal: Callable[[Fields, Fields], Fields] = _as_they_were


ADDS = Step()
"""Of a version that only adds fields that may be absent: what was stored before looks as it did."""

UPCASTERS: dict[tuple[str, str, int], Step] = {
    ("candidate", "consent_given", 1): ADDS,  # jurisdiction
    ("candidate", "consent_withdrawn", 1): ADDS,  # jurisdiction
    ("candidate", "erased", 1): ADDS,  # envelopes
}
"""By kind, type and the version that a step starts from."""


def upcast(
    kind: str, type_: str, v: int, newest: int, clear: Fields, personal: Fields | None
) -> tuple[Fields, Fields | None]:
    """Clear and personal fields as the `newest` version has them; None stays None, where the key is destroyed.

    Raises UnknownEventError when `v` is newer than this code or a step is missing, UpcastError when a step fails.
    """
    if v > newest:
        raise UnknownEventError(f"{kind} event {type_} has schema version {v}, known up to {newest}; upgrade Rapport")
    for at in range(v, newest):
        step = UPCASTERS.get((kind, type_, at))
        if step is None:
            raise UnknownEventError(f"no upcaster for {kind} event {type_} from version {at}")
        try:
            clear, personal = (
                step.clear(dict(clear)),
                None if personal is None else step.personal(dict(personal), dict(clear)),
            )
        except Exception as error:  # noqa: BLE001 - whatever a step stumbles over, the event cannot be read
            # Its message is left out: it may repeat what the event says about a person.
            raise UpcastError(
                f"{kind} event {type_} of version {v} cannot be read as version {at + 1}: {type(error).__name__}"
            ) from None
    return clear, personal
