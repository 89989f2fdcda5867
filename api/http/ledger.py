"""The ledger itself: is it still what the mirror saw?"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
from eventsourcing.persistence import OperationalError
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api import status
from api.failures import NodeError
from api.http.asking import AskedFirst
from api.http.parameters import NodeUpToDate
from api.http.reads import reads_nothing
from api.http.roles import OFFICERS
from api.node import Node, last_checkpoint
from consumers.verification import Finding, Progress, Summary, verify
from infra.erasing import Unrecognised

router = APIRouter(route_class=AskedFirst, tags=["operations"])


@router.get(
    "/v1/ledger/verification",
    summary="The whole ledger against the mirror",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
    openapi_extra=reads_nothing("positions, hashes and ids without meaning") | OFFICERS,
)
def verification(node: NodeUpToDate) -> StreamingResponse:
    """NDJSON: `{"progress": …}` now and then, `{"finding": …}`s, at last `{"summary": …}` or `{"error": …}`."""
    return StreamingResponse(_lines(node), media_type="application/x-ndjson")


def _lines(node: Node) -> Iterator[bytes]:
    with node.projector.cursor() as cursor:
        try:
            is_whole = node.keyring.is_whole if node.keyring.missing is None else None
            unknown = node.suppressions.unrecognised()
            for item in verify(node.connection, node.stream, cursor, last_checkpoint(node.settings), is_whole):
                yield orjson.dumps(as_line(item, unknown)) + b"\n"
        except (OperationalError, NodeError) as error:
            yield orjson.dumps({"error": str(error)}) + b"\n"


def as_line(item: Finding | Progress | Summary, unrecognised: Unrecognised | None = None) -> dict[str, Any]:
    """What `verify` yields, as a document with one member that says which it is.

    `unrecognised`: what is suppressed no more, for the summary.
    """
    match item:
        case Finding():
            return {"finding": {k: v for k, v in asdict(item).items() if v is not None}}
        case Progress():
            return {"progress": asdict(item)}
        case Summary():
            unknown = status.unrecognised(unrecognised)
            return {"summary": asdict(item) | {"clean": item.is_clean, "unrecognised": unknown}}
