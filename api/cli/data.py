"""`rapport generate`, `import`: data in."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from api.cli import output
from api.cli.client import Client, connect
from api.cli.parameters import JSON
from api.failures import FileRefused
from api.generator import DEFAULT_CANDIDATES, generate
from domain.errors import ErasedCandidate

if TYPE_CHECKING:
    from api.importing import Line, Source

CHUNK = 500
TOTAL_OF = {"accepted": "accepted", "duplicate": "duplicates", "rejected": "rejected"}
ERASED = "erased"


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command("generate")(generate_command)
    app.command("import")(import_command)


def generate_command(
    candidates: Annotated[int, typer.Option(min=1, help="How many people.")] = DEFAULT_CANDIDATES,
    seed: Annotated[int, typer.Option(help="The same seed gives the same history.")] = 1,
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if unset.")
    ] = None,
) -> None:
    """Made-up interactions as NDJSON, for trying things out. Nobody in them exists."""
    lines = (orjson.dumps(record) + b"\n" for record in generate(candidates, seed))
    if target is None:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
        return
    try:
        with target.open("wb") as file:
            file.writelines(lines)
    except OSError as error:
        raise FileRefused(f"{target} cannot be written: {error.strerror}") from None


def import_command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="NDJSON, a JSON array, or CSV; - for standard input.")],
    source: Annotated[str | None, typer.Option(help="Where the people of a CSV came from; its name if unset.")] = None,
    json: JSON = False,
) -> None:
    """Record interactions, or source people, from a file.

    What is known already is left alone, so an import may be repeated. Rejected lines go to FILE.rejected.ndjson with
    line number and reason, and the exit code is 1.

    Examples: rapport import people.csv · rapport import history.ndjson --json · zcat old.gz | rapport import -
    """
    from api.importing import open_source

    opened = open_source(file, source)
    with connect(context.obj) as client:
        summary = run_import(client, opened, rejected_path(file), quiet=json)
    if json:
        output.as_json(summary)
    else:
        _show_summary(summary)
    raise typer.Exit(1 if summary["rejected"] else 0)


def rejected_path(file: str) -> Path:
    """Where rejected lines of `file` go: beside it, or into the current folder when that one takes no files."""
    beside = Path("stdin.rejected.ndjson") if file == "-" else Path(file + ".rejected.ndjson")
    return beside if os.access(beside.absolute().parent, os.W_OK) else Path(beside.name)


def run_import(client: Client, opened: "Source", rejected_to: Path, *, quiet: bool) -> dict[str, Any]:
    """Sends everything, writes down what was rejected, waits for the views; the summary."""
    totals = dict.fromkeys((*TOTAL_OF.values(), ERASED), 0)
    rejected = _Rejected(rejected_to)
    with output.progress(quiet) as progress, rejected:
        task = progress.add_task(f"import {opened.name}", total=opened.size_bytes)
        for lines in _chunks(opened.lines):
            sent = [(line, document) for line in lines for document in line.documents]
            answers = client.ndjson([d for _, d in sent], history=True)["results"] if sent else []
            unread = [
                (line, {"status": "rejected", "code": "unreadable", "reason": line.problem})
                for line in lines
                if line.problem is not None
            ]
            answered = [(line, answer) for (line, _), answer in zip(sent, answers, strict=True)]
            for line, answer in sorted([*unread, *answered], key=lambda pair: pair[0].number):
                erased = answer.get("code") == ErasedCandidate.code
                totals[ERASED if erased else TOTAL_OF[answer["status"]]] += 1
                if answer["status"] == "rejected" and not erased:  # nothing is written down of who was erased
                    rejected.write(line, answer["code"], answer["reason"])
            progress.update(task, completed=opened.position())
        views = progress.add_task("views", total=None)
        client.wait_for_views(lambda done, total: progress.update(views, completed=done, total=total))
    return {
        **totals,
        "last_seq": client.last_seq(),
        "ignored_columns": opened.ignored_columns,
        "rejected_file": str(rejected_to) if totals["rejected"] else None,
    }


class _Rejected:
    """The file beside the input; it exists only when something was rejected, for its owner's eyes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> "_Rejected":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        elif kind is None:
            self._path.unlink(missing_ok=True)  # of an import before, whose lines are all taken by now

    def write(self, line: "Line", code: str, reason: str) -> None:
        """One rejected record. Raises FileRefused when it cannot be written."""
        try:
            if self._file is None:
                self._path.touch(0o600)
                self._file = self._path.open("wb")
            entry = {"line": line.number, "code": code, "reason": reason, "record": line.raw}
            self._file.write(orjson.dumps(entry) + b"\n")
        except OSError as error:
            raise FileRefused(f"rejected lines cannot be written to {self._path}: {error.strerror}") from None


def _chunks(lines: Iterator["Line"]) -> Iterator[list["Line"]]:
    chunk: list[Line] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _show_summary(summary: dict[str, Any]) -> None:
    done, known, bad = summary["accepted"], summary["duplicates"], summary["rejected"]
    news = f"{done:,} recorded" if done else "nothing new, nothing changed"
    output.say(f"{news}: {known:,} known already, {bad:,} rejected; the ledger stands at {summary['last_seq']:,}")
    if summary[ERASED]:
        output.say(f"{summary[ERASED]:,} are about people who were erased, and were passed over")
    if summary["ignored_columns"]:
        output.say(f"columns not used: {', '.join(summary['ignored_columns'])}")
    if bad:
        output.err.print(f"rejected lines with their reasons: {summary['rejected_file']}", markup=False)
