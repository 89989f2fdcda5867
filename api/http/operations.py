"""Operations: SQL, status, rebuild."""

import io
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from api import sql
from api.http.parameters import Cursor, NodeUpToDate
from api.http.problems import problem
from projections import rebuild
from projections.registry import VIEWS

ARROW = "application/vnd.apache.arrow.stream"

router = APIRouter(tags=["operations"])


class SelectRequest(BaseModel):
    """One SELECT."""

    model_config = ConfigDict(extra="forbid")

    query: str


@router.post("/v1/sql", summary="One SELECT over the views", tags=["analytics"])
def run(request: SelectRequest, cursor: Cursor, accept: Annotated[str, Header()] = "application/json") -> Response:
    """Rows as JSON objects, or as an Arrow stream with `Accept: application/vnd.apache.arrow.stream`."""
    table = sql.select(cursor, request.query)
    if ARROW in accept:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Response(sink.getvalue(), media_type=ARROW)
    return Response(sql.as_json(table), media_type="application/json")


@router.get("/v1/status", summary="The node on one screen")
def status(node: NodeUpToDate) -> dict[str, Any]:
    """Ledger, views, what waits and what is broken."""
    return node.status()


@router.post("/v1/views/rebuild", summary="Build views anew from the mirror")
def rebuild_views(
    node: NodeUpToDate, view: Annotated[str | None, Query(description="one view; all of them if absent")] = None
) -> JSONResponse:
    """Beside the live ones; readers see the old until the new is complete."""
    names = [v.name for v in VIEWS]
    if view is not None and view not in names:
        return problem(404, "unknown-view", f"there is no view {view!r}; known are {', '.join(names)}")
    rebuild(node.projector, view, None)
    return JSONResponse({"rebuilt": [view] if view else names})
