"""What became of interactions, as HTTP says it: of one, of many together, of many line by line."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, cast

import orjson
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.http.once import forget
from api.http.problems import STATUS, as_problem, problem
from api.http.streaming import NDJSON, pieces
from infra.recording import Accepted, Duplicate, Outcome, Rejected

SPOOLED_BYTES = 1_000_000
MOST_TOGETHER_BYTES = 256_000_000
TOO_LONG = (
    f"the outcomes take more than {MOST_TOGETHER_BYTES:,} bytes together; ask for them by the line (Accept: {NDJSON}), "
    "and read them while you send: what is counted here is recorded, and all may be sent again"
)


def single(outcome: Outcome) -> Response:
    """201 recorded, 200 known already, or a problem document."""
    match outcome:
        case Accepted(candidate_id=id_, seq=seq, version=version):
            return JSONResponse({"status": "accepted", "candidate": id_, "seq": seq, "version": version}, 201)
        case Duplicate(candidate_id=id_):
            return JSONResponse({"status": "duplicate", "candidate": id_})
        case Rejected(code=code, reason=reason):
            return problem(STATUS.get(code, 409), code, reason)


class Count:
    """What became of many interactions."""

    def __init__(self) -> None:
        self._kinds: Counter[type[Outcome]] = Counter()
        self._last_seq: int | None = None

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """These as well."""
        self._kinds.update(map(type, outcomes))
        seqs = (o.seq for o in outcomes if isinstance(o, Accepted))
        self._last_seq = max(seqs, default=self._last_seq)

    def as_document(self) -> dict[str, int | None]:
        """As JSON has it."""
        counts = {"accepted": Accepted, "duplicates": Duplicate, "rejected": Rejected}
        return {name: self._kinds[kind] for name, kind in counts.items()} | {"last_seq": self._last_seq}


def _result(outcome: Outcome) -> bytes:
    return orjson.dumps({"status": type(outcome).__name__.lower(), **asdict(outcome)})


async def together(chunks: AsyncIterator[list[Outcome]], folder: Path) -> Response:
    """One JSON document, put together in a file; 413 above `MOST_TOGETHER_BYTES`, and the rest is not read."""
    count = Count()
    spooled = SpooledTemporaryFile(max_size=SPOOLED_BYTES, dir=str(folder))  # noqa: SIM115 - closed when it is sent
    file = cast(IO[bytes], spooled)
    try:
        file.write(b'{"results":[')
        async for outcomes in chunks:
            file.write(b"," if file.tell() > len(b'{"results":[') else b"")
            file.write(b",".join(map(_result, outcomes)))
            count.add(outcomes)
            if file.tell() > MOST_TOGETHER_BYTES:
                file.close()
                return problem(413, "too-large", TOO_LONG, None, **count.as_document())
        file.write(b"]," + orjson.dumps(count.as_document())[1:])
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    sent = pieces(file)
    return StreamingResponse(sent, media_type="application/json", headers={"Content-Length": str(size)})


async def line_by_line(chunks: AsyncIterator[list[Outcome]], request: Request) -> AsyncIterator[bytes]:
    """A line an outcome, and one that ends it. Raises what goes wrong before the first."""
    count, begun = Count(), False
    try:
        async for outcomes in chunks:
            yield b"".join(_result(outcome) + b"\n" for outcome in outcomes)
            count.add(outcomes)
            begun = True
    except Exception as error:
        if not begun:
            raise
        forget(request)
        said = as_problem(request, error)
        yield orjson.dumps({"error": orjson.loads(bytes(said.body)), "summary": count.as_document()}) + b"\n"
        return
    yield orjson.dumps({"summary": count.as_document()}) + b"\n"
