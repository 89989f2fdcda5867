"""Everything that is held about one person, as a zip archive for that person (Art. 15 and 20 GDPR)."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse

from api.disclosure.archive import archive
from api.disclosure.gathering import gather, record_of
from api.http.analytics import chunks
from api.http.asking import AskedFirst
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import Noting, reads
from api.http.roles import OFFICERS
from api.references import reference_of
from domain.access import Read

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance", tags=["compliance"])


@router.get(
    "/candidates/{ref:path}/export",
    summary="Everything that is held about one person",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
    openapi_extra=reads(Read.EXPORT) | OFFICERS,
)
def export(
    node: NodeUpToDate,
    seen: Noting,
    ref: Annotated[str, Path(description="id, email, +phone, profile link or system:key")],
    request: Annotated[str | None, Query(description="id of the request that it answers")] = None,
) -> Response:
    """Every event decrypted, every derived row, scores with their logic, as JSON and as a page to read.

    `docs/person-export.md` describes the files. An event that cannot be opened is named in them.
    """
    candidate = record_of(node, reference_of(ref))
    seen.person(candidate)
    gathered = gather(node, candidate, request)
    try:
        file, size = archive(gathered, node.settings.data)
    except OSError as error:
        return problem(
            507, "export-failed", f"the export could not be written ({error.strerror}); nothing of it is left"
        )
    name = f"export-{gathered.person.candidate}.zip"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(size),
        "Rapport-Seq": str(gathered.person.until_seq),
    }
    return StreamingResponse(chunks(file), media_type="application/zip", headers=headers)
