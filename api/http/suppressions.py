"""Identifiers of erased persons: is one suppressed, and may it be used again (Art. 17 GDPR).

Who asks names the identifier in the body: it is personal data, and addresses end up in logs.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answers
from api.http.answers import compliance as described
from api.http.asking import AskedFirst
from api.http.callers import Calling
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import reads
from api.http.roles import OFFICERS
from api.references import reference_of
from api.status import unrecognised
from domain.access import Read
from domain.errors import InvalidInteraction
from domain.event import Label, Name
from domain.interaction import DEFAULT_ACTOR
from infra.identifiers import identifiers_of
from infra.suppressions import ErasureUnfinished, NotSuppressed, Suppression

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance/suppressions", tags=["compliance"])


class Named(BaseModel):
    """One identifier."""

    model_config = ConfigDict(extra="forbid")

    identifier: Annotated[str, Field(max_length=1_000, description="email, +phone, profile link or system:key")]


class Lift(Named):
    """Why it may be used again: words that say nothing about the person."""

    because: Label
    by: Name = DEFAULT_ACTOR


@router.post(
    "/check",
    summary="Is an identifier one of somebody who was erased?",
    openapi_extra=reads(Read.SUPPRESSION) | OFFICERS,
    responses=answers(described.Suppression),
)
def check(named: Named, node: NodeUpToDate) -> dict[str, Any]:
    """And by which erasure, and whether that was lifted. Only one at a time can be asked: there are hashes only.

    `unrecognised`: how many identifiers of people erased before nobody can recognise any more; null if there are none.
    """
    return _shown(node.suppressions.of(_identifier(named.identifier)))


@router.post(
    "/lift",
    summary="Somebody who was erased comes of their own accord",
    openapi_extra=reads(Read.SUPPRESSION) | OFFICERS,
    responses=answers(described.Suppression),
)
def lift(asked: Lift, node: NodeUpToDate, caller: Calling) -> Any:
    """The identifier is free from then on, as one that nobody ever had. Nothing of what was erased comes back."""
    try:
        by = caller.acting(asked.by)
        return _shown(node.suppressions.lift(_identifier(asked.identifier), asked.because, by))
    except NotSuppressed:
        return problem(404, "not-suppressed", "this identifier is not suppressed, so that there is nothing to lift")
    except ErasureUnfinished:
        said = "the erasure that suppresses this identifier is not finished yet; ask again in a minute"
        return problem(409, "not-certified", said, {"Retry-After": "60"})


def _identifier(text: str) -> str:
    """In the form in which it is compared. Raises InvalidInteraction."""
    identifiers = list(identifiers_of(reference_of(text)))
    if len(identifiers) != 1:
        raise InvalidInteraction(
            "identifier: write an email address, a phone number with its country code, a profile link, or system:key; "
            "an id is never suppressed, nor used again"
        )
    return identifiers[0]


def _shown(found: Suppression) -> dict[str, Any]:
    return {
        "suppressed": found.suppressed,
        "erasures": list(found.erasures),
        "unrecognised": unrecognised(found.unrecognised),
        "lifted": [{"at": lift.at.isoformat(), "by": lift.by, "because": lift.because} for lift in found.lifted],
    }
