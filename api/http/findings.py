"""What breaks the rules as of a moment, the policy it is judged by, and the records of processing (Art. 30 GDPR)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from api.http.answers import answers
from api.http.answers.compliance import Findings, Policy, RecordsOfProcessing
from api.http.asking import AskedFirst
from api.http.parameters import AsOf, Cursor, KnownAt, NodeUpToDate, looking
from api.http.reads import Noting, reads, reads_nothing
from api.http.roles import EVERY_ROLE, OFFICERS
from api.records_of_processing import records
from api.references import reference_of
from domain.access import Read
from domain.compliance_policy import GENERAL
from domain.finding import FindingKind
from projections import queries

MOST = 10_000

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance", tags=["compliance"])
OURS = reads_nothing("what the controller has laid down, about nobody")

Place = Annotated[
    str | None,
    Query(pattern=rf"^({'|'.join(FindingKind)}):\d{{1,18}}$", description="`next` of the page before"),
]


@router.get(
    "/findings",
    summary="What breaks the rules at a moment",
    openapi_extra=reads(Read.FINDINGS) | OFFICERS,
    responses=answers(Findings),
)
def findings(
    node: NodeUpToDate,
    cursor: Cursor,
    seen: Noting,
    as_of: AsOf,
    known_at: KnownAt = None,
    kind: FindingKind | None = None,
    person: Annotated[str | None, Query(description="id, email, +phone, profile link or system:key")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
    after: Place = None,
) -> dict[str, Any]:
    """The gravest kind first: each with the events that prove it, since when, until when something was due, the
    article it rests on, and what to do. `total` counts all pages; `next` is the `after` of the next one."""
    candidate = None if person is None else node.recording.resolve(reference_of(person))
    after_kind, _, after_seq = (after or "").partition(":")
    with looking(node, cursor, known_at, ("findings",), candidate) as then:
        then.execute("set variable as_of = $1::timestamptz", [as_of])
        try:
            found = queries.rows(
                then,
                "findings",
                "list",
                kind=kind,
                canonical_id=None if candidate is None else (queries.canonical(then, candidate) or candidate),
                after_kind=after_kind or None,
                after_seq=after_seq or None,
                limit=limit + 1,
            )
        finally:
            then.execute("reset variable as_of")
    total = found[0]["total"]
    there = [{name: value for name, value in row.items() if name != "total"} for row in found if row["kind"]]
    rows, more = there[:limit], there[limit:]
    seen.persons(row["canonical_id"] for row in rows)
    return {
        "as_of": as_of.isoformat(),
        "known_at": known_at,
        "total": total,
        "findings": rows,
        "next": f"{rows[-1]['kind']}:{rows[-1]['seq']}" if more else None,
    }


@router.get(
    "/policy", summary="The compliance policy in force", openapi_extra=OURS | EVERY_ROLE, responses=answers(Policy)
)
def policy(node: NodeUpToDate) -> dict[str, Any]:
    """Every value of each jurisdiction with its source, and the jurisdiction that it is `from`. `default` is that of
    people of whom none is known."""
    by_jurisdiction = {
        code: {"name": own.name}
        | {
            name: value | {"from": GENERAL if getattr(own, name) is None else code}
            for name, value in node.policy.terms(code).model_dump(mode="json").items()
        }
        for code, own in node.policy.jurisdictions.items()
    }
    return {
        "version": node.policy.version,
        "file": None if node.settings.policy is None else node.settings.policy.name,
        "default": node.settings.jurisdiction,
        "jurisdictions": by_jurisdiction,
    }


@router.get(
    "/policy.toml", summary="The policy as TOML", response_class=PlainTextResponse, openapi_extra=OURS | EVERY_ROLE
)
def policy_toml(node: NodeUpToDate) -> str:
    """As it was read, to change for one's own."""
    return node.policy_toml


@router.get(
    "/records-of-processing",
    summary="The records of processing activities",
    openapi_extra=OURS | EVERY_ROLE,
    responses=answers(RecordsOfProcessing),
)
def records_of_processing(node: NodeUpToDate) -> dict[str, Any]:
    """What Art. 30(1) GDPR asks for: from the policy and the catalogue of events."""
    return records(node.policy)
