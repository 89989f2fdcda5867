"""Structured logs: one JSON object a line on standard error. Events and ids, never personal data.

A line that cannot be written, because a disk is full or whoever read has gone, is lost, and nothing else is: what there
is to log about must go on.

Of an error there is its type and its place, and never its message, which may quote what was being worked on; nor do
messages of others, who log through the standard library, get further than to where a value may begin.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

_WORDS = re.compile(r"[^\n<>(){}\[\]\"'%:=@]*")


class Lines:
    """Writes lines to `stream`, each whole and at once; never raises for one that cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._print = structlog.PrintLogger(stream).msg

    def msg(self, line: str) -> None:
        """Writes one."""
        with suppress(OSError, ValueError):  # ValueError is of a stream that was closed
            self._print(line)

    debug = info = warning = error = critical = msg


def configure(level: str) -> None:
    """Sets the process's logging up; `level` is debug, info, warning or error."""
    stream = sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _type_and_place,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: Lines(stream),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, OfOthers) for handler in root.handlers):
        root.addHandler(OfOthers(logging.WARNING))
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # reconnects are reported by us, without server text


def fault_of(error: BaseException) -> dict[str, Any]:
    """What may be logged of an error: its type, and the file and line that raised it."""
    found: dict[str, Any] = {"error": type(error).__name__}
    if places := traceback.extract_tb(error.__traceback__):
        found |= {"file": places[-1].filename, "line": places[-1].lineno}
    return found


class OfOthers(logging.Handler):
    """What is logged through the standard library, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the words of the message before any value, and of an error what `fault_of` says."""
        log = structlog.get_logger(record.name)
        write = log.error if record.levelno >= logging.ERROR else log.warning
        words = _WORDS.match(str(record.msg))
        write(words[0].strip() if words else "", logger=record.name, exc_info=record.exc_info or None)


def _type_and_place(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(fault_of(error))
    return event
