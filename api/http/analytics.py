"""Analytics: SQL over the views, what there is to ask, and copies to take away."""

import asyncio
import contextlib
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from functools import partial
from typing import IO, Annotated, Any

import duckdb
import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api import sql
from api.http.answers import answers
from api.http.answers.operations import Parts, Table
from api.http.asking import AskedFirst
from api.http.callers import Calling
from api.http.parameters import Cursor, NodeUpToDate
from api.http.problems import problem
from api.http.reads import Noting, reads, reads_nothing
from api.http.rights import RIGHTS
from api.http.roles import COPIES, EVERY_ROLE
from api.http.threads import MOST_WAITING, Threads
from api.node import Node
from api.sql import catalogue
from api.sql.formats import Format, accepted
from api.sql.named import schemas_of
from domain.access import Read
from domain.event import UtcDatetime
from projections.publishing import PublishingFailed, Snapshot, parquet

CHUNK_BYTES = 1_000_000
ROWS = ("done", "total")
QUIET_S = 1.0

Tell = Callable[[dict[str, Any]], None]

router = APIRouter(route_class=AskedFirst, tags=["analytics"])
log = structlog.get_logger()


class SelectRequest(BaseModel):
    """One SELECT."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "select type, count(*) as events from events group by type"}]},
    )

    query: str
    as_of: UtcDatetime | None = Field(None, description="what the views that depend on a time take as now")


@router.post(
    "/v1/sql",
    summary="One SELECT over the views",
    response_class=Response,
    responses={200: {"content": {format_.value: {} for format_ in Format}}},
    openapi_extra=reads(Read.SQL) | EVERY_ROLE,
)
def run(
    request: SelectRequest,
    node: NodeUpToDate,
    cursor: Cursor,
    caller: Calling,
    seen: Noting,
    accept: Annotated[str, Header()] = "*/*",
) -> StreamingResponse:
    """Rows as a JSON array, CSV, an Arrow stream or Parquet, by `Accept`. `Rapport-Seq` says what they rest on."""
    seen.sql(request.query, schemas_of(cursor, request.query))
    format_ = accepted(accept)
    answer = sql.answer(cursor, request.query, RIGHTS[caller.role], format_, request.as_of, node.settings.data)
    seen.count = answer.rows
    headers = {"Content-Length": str(answer.size_bytes), "Rapport-Seq": str(answer.seq), "Vary": "Accept"}
    return StreamingResponse(chunks(answer.file), media_type=format_.value, headers=headers)


@router.get(
    "/v1/sql/catalogue",
    summary="Tables, views and macros to ask",
    openapi_extra=reads_nothing("names and comments of tables and columns") | EVERY_ROLE,
    responses=answers(list[Table]),
)
def describe(
    cursor: Cursor, caller: Calling, name: Annotated[str | None, Query(description="one of them; all if absent")] = None
) -> Any:
    """Each with its columns, types and comments, as far as the caller's role may read it."""
    found = catalogue.describe(cursor, RIGHTS[caller.role], name)
    if name is not None and not found:
        return problem(404, "unknown-view", f"there is no table or view {name!r} to ask; without a name all are listed")
    return found


@router.post(
    "/v1/snapshots",
    summary="Publish a snapshot of now",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
    openapi_extra=reads(Read.SNAPSHOT) | COPIES,
)
async def publish(request: Request, node: NodeUpToDate) -> Response:
    """NDJSON: `{"progress": {"done": …, "total": …}}` in rows, at last `{"snapshot": …}` or `{"error": …}`.

    One that is being written is written to its end when its client goes away; one that still waits is not.
    """
    threads: Threads = request.app.state.threads
    if (refusal := _too_many(threads)) is not None:
        return refusal
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    left = threading.Event()
    loop = asyncio.get_running_loop()

    def tell(document: dict[str, Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the server is gone, and with it whoever asked
            loop.call_soon_threadsafe(told.put_nowait, document)

    threads.copies.begin(lambda: None if left.is_set() else _publish(node, tell))
    return StreamingResponse(_lines(request, told, left), media_type="application/x-ndjson")


async def _lines(request: Request, told: asyncio.Queue[dict[str, Any]], left: threading.Event) -> AsyncIterator[bytes]:
    """What is told, by the line, until the last; `left` is set when nobody listens any more."""
    document: dict[str, Any] = {"progress": None}
    try:
        while "progress" in document:
            try:
                document = await asyncio.wait_for(told.get(), QUIET_S)
            except TimeoutError:
                if await request.is_disconnected():
                    return
            else:
                yield orjson.dumps(document) + b"\n"
    finally:
        left.set()


def _publish(node: Node, tell: Tell) -> None:
    """Publishes, and tells how it goes, and how it ended, whatever happens."""
    try:
        published = node.publisher.publish(lambda *rows: tell({"progress": dict(zip(ROWS, rows, strict=True))}))
        tell({"snapshot": as_document(published)})
    except PublishingFailed as error:
        tell({"error": str(error)})
    except duckdb.ConnectionException:
        tell({"error": "the views' file is being opened again; try again shortly"})
    except BaseException as error:  # noqa: BLE001 - the answer has begun; whoever asked is told in it
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("snapshot not published", error=type(error).__name__, file=place.filename, line=place.lineno)
        tell({"error": f"a fault in Rapport ({type(error).__name__}); the node's log has the rest"})


def _too_many(threads: Threads) -> JSONResponse | None:
    if not threads.copies.is_full:
        return None
    return problem(503, "snapshots-busy", f"{MOST_WAITING} wait for a snapshot already", {"Retry-After": "5"})


@router.get(
    "/v1/snapshot.duckdb",
    summary="The newest snapshot as a DuckDB file",
    response_class=Response,
    openapi_extra=reads(Read.SNAPSHOT) | COPIES,
)
async def snapshot(
    request: Request,
    node: NodeUpToDate,
    fresh: Annotated[bool, Query(description="publish one first, if anything has happened since the last")] = False,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Everything but personal data, to open read-only with DuckDB 1.5 or later. Published now if there is none."""
    threads: Threads = request.app.state.threads
    if (refusal := _too_many(threads)) is not None:
        return refusal
    newest, file = await threads.copies.begin(partial(node.publisher.open, fresh=fresh))
    tag = f'"{newest.seq}-{newest.published_at.timestamp():.6f}"'
    headers = {"ETag": tag, "Rapport-Seq": str(newest.seq)}
    if if_none_match is not None and tag in (part.strip() for part in if_none_match.split(",")):
        file.close()
        return Response(status_code=304, headers=headers)
    named = {"Content-Disposition": 'attachment; filename="rapport.duckdb"', "Content-Length": str(newest.size_bytes)}
    return StreamingResponse(chunks(file), media_type="application/vnd.duckdb", headers=headers | named)


@router.get(
    "/v1/export/parts",
    summary="The mirror by day and shard, for an export",
    openapi_extra=reads_nothing("counts of events by day") | COPIES,
    responses=answers(Parts),
)
def parts(
    node: NodeUpToDate, shards: Annotated[int, Query(description="how many; a power of two up to 256")] = 1
) -> JSONResponse:
    """How many events each part holds, and its last; `until` is what they all go up to."""
    try:
        with node.projector.cursor() as cursor:
            found = parquet.listing(cursor, shards)
    except ValueError as error:
        return problem(422, "invalid-request", f"shards: {error}")
    listed = [{"day": p.day, "shard": p.shard, "events": p.events, "last_seq": p.last_seq} for p in found.parts]
    document = {"until": found.until, "columns": found.columns, "parts": listed}
    return JSONResponse(orjson.loads(orjson.dumps(document)))


@router.get(
    "/v1/export/events.parquet",
    summary="One part of the mirror as Parquet",
    response_class=Response,
    openapi_extra=reads(Read.PARQUET) | COPIES,
)
def part(
    node: NodeUpToDate,
    day: Annotated[date, Query(description="of recording, in UTC")],
    until: Annotated[int, Query(ge=0, description="the last ledger position that counts")],
    shard: Annotated[str, Query(pattern="^[0-9a-f]{2}$", description="where it begins, in hex")] = "00",
    shards: Annotated[int, Query(description="how many there are")] = 1,
) -> Response:
    """Its events in order, without personal data and without the stored bytes."""
    try:
        parquet.check(shard, shards)
    except ValueError as error:
        return problem(422, "invalid-request", f"shard: {error}")
    return StreamingResponse(_part(node, day, shard, shards, until), media_type=Format.PARQUET.value)


def _part(node: Node, day: date, shard: str, shards: int, until: int) -> Iterator[bytes]:
    with node.projector.cursor() as cursor:
        yield from parquet.part(cursor, day, shard, shards, until)


def as_document(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON has it."""
    return {
        "path": str(snapshot.path.absolute()),
        "seq": snapshot.seq,
        "published_at": snapshot.published_at.isoformat(),
        "size_bytes": snapshot.size_bytes,
        "materialised": list(snapshot.materialised),
    }


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file from where it stands to its end; closed afterwards, whatever happens."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
