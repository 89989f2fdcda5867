"""Measuring and telling of it, the same for every benchmark: a table as Markdown, the figures as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.benchmarks import figures
from tests.benchmarks.figures import Figure
from tests.benchmarks.filling import OtherHistory
from tests.benchmarks.views_stages import Wrong

TROUBLE = (OtherHistory, ValueError, Wrong, OSError, httpx.HTTPError)


def report(measured: Iterator[Figure], json_file: Path | None) -> None:
    """Prints what is measured, up to where it ends; with a sentence and status 1 when that is before the end."""
    started, found, trouble = time.perf_counter(), list[Figure](), None
    try:
        found.extend(measured)
    except TROUBLE as error:
        trouble = str(error) or type(error).__name__
    except KeyboardInterrupt:
        trouble = "interrupted; what had been started is stopped"
    print(f"{figures.machine()}\n\n{figures.table(found)}\n\n{time.perf_counter() - started:,.0f} s in all")
    if json_file is not None:
        document = {"machine": figures.machine(), "figures": [figure.document() for figure in found]}
        json_file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    if trouble is not None:
        sys.exit(trouble)
