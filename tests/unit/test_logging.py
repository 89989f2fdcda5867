"""Logs: a line that nobody can write stops nothing of what it tells of."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
import structlog
from eventsourcing.persistence import OperationalError

from consumers import announcing, delivering, ingest, projecting, relay, settling
from consumers.announcing import Announcing
from consumers.delivering import Delivering
from consumers.projecting import Projecting
from consumers.settling import Message, Settling
from infra.logging import OfOthers, configure
from infra.metrics import Deliveries

ANY = cast(Any, None)


def disk_full(_: Path) -> TextIO:
    return Path("/dev/full").open("w")


def nobody_reads(_: Path) -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def closed(folder: Path) -> TextIO:
    stream = (folder / "log").open("w")
    stream.close()
    return stream


@pytest.fixture(params=[disk_full, nobody_reads, closed])
def unwritable(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[structlog.stdlib.BoundLogger]:
    """A logger as nodes have, of which no line can be written."""
    stream, before, handlers = request.param(tmp_path), structlog.get_config(), logging.getLogger().handlers[:]
    with pytest.raises((OSError, ValueError)):
        print("a line", file=stream, flush=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        configure("info")
    for module in (announcing, delivering, ingest, projecting, relay, settling):
        monkeypatch.setattr(module, "log", structlog.get_logger())
    yield structlog.get_logger()
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    with suppress(OSError):
        stream.close()


def of_settling() -> Any:
    class Away:
        def open(self, *_: Any) -> Any:
            raise OperationalError("away")

    found = Settling(cast(Any, Away()), ANY, ANY, {}, Deliveries())
    assert found.settle([Message("sendgrid", b"", 1, 1)]) == [1.0]
    return found.failure


def of_announcing() -> Any:
    found = Announcing(ANY, ANY, ANY, ANY, 1.0)
    found._fail(ZeroDivisionError())
    return found.failure


def of_delivering() -> Any:
    found = Delivering(ANY, ANY, ANY, ANY)
    found._fail("away")
    return found.failure


def of_projecting() -> Any:
    found = Projecting(ANY, ANY, ANY, 1)

    def fails() -> None:
        found._stopping.set()
        raise MemoryError

    cast(Any, found)._follow_on = fails
    found._follow()
    return found.failure


@pytest.mark.parametrize("work", [of_settling, of_announcing, of_delivering, of_projecting])
def test_who_cannot_log_a_failure_goes_on_and_tells_it(
    unwritable: structlog.stdlib.BoundLogger, work: Callable[[], Any]
) -> None:
    assert work() is not None


def test_what_others_log_and_what_was_caught_can_be_lost_too(unwritable: structlog.stdlib.BoundLogger) -> None:
    for level in ("debug", "info", "warning", "error", "critical", "exception"):
        getattr(unwritable, level)("a line", number=1)
    OfOthers().handle(logging.LogRecord("uvicorn", logging.ERROR, "a.py", 1, "another", None, None))
