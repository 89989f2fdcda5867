"""Traces for an operator's collector (OpenTelemetry): what a request led to in ledger, views and feed.

Off, and nothing of it loaded, unless the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT, or the variable for
traces alone, is set; then all the standard OTEL_… variables hold. Spans say what was done, how much of it and how it
ended: no ids but correlations, which are trace ids, no addresses and nothing that somebody sent.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import structlog

if TYPE_CHECKING:
    from infra.spans import Spans

PROTOCOL = "http/protobuf"

log = structlog.get_logger()


class Span(Protocol):
    """What is under way, and said of it."""

    def routed(self, route: str) -> None:
        """The template of a request's route, by which its span is named."""

    def note(self, **said: int | str) -> None:
        """Figures, and names that an operator chose."""

    def tally(self, outcomes: Iterable[str]) -> None:
        """How often each outcome came."""

    def answered(self, status: int) -> None:
        """The status of an HTTP answer."""

    def fail(self, kind: str) -> None:
        """It failed: the type of an error, or a status."""


class _Nothing:
    """A span while nothing is traced."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def routed(self, route: str) -> None: ...

    def note(self, **said: int | str) -> None: ...

    def tally(self, outcomes: Iterable[str]) -> None: ...

    def answered(self, status: int) -> None: ...

    def fail(self, kind: str) -> None: ...


_NOTHING = _Nothing()
_spans: "Spans | None" = None


def is_on() -> bool:
    """Whether anything is traced."""
    return _spans is not None


def work(name: str, correlations: Iterable[str | None] = (), **said: int | str) -> AbstractContextManager[Span]:
    """A span for the time of the block. Inside another it is part of that; done for one request alone, of that
    request's trace. It is linked to the requests with these correlations, which are looked at while tracing only.
    """
    return _NOTHING if _spans is None else _spans.work(name, correlations, said)


def posting(name: str, correlations: Iterable[str | None] = (), **said: int | str) -> AbstractContextManager[Span]:
    """As `work`, for a request of ours to somebody else."""
    return _NOTHING if _spans is None else _spans.work(name, correlations, said, outgoing=True)


def request(method: str, correlation: str, traceparent: str | None) -> AbstractContextManager[Span]:
    """The span of an HTTP request, in the trace that its correlation names."""
    return _NOTHING if _spans is None else _spans.request(method, correlation, traceparent)


def start() -> Callable[[], None]:
    """Begins, where that was asked for; returns how to end, which takes 2 s at most. Never raises: a node without
    traces is better than none.
    """
    global _spans  # noqa: PLW0603 - as logging is, it is the process's
    if _spans is not None or not _wanted():
        return lambda: None
    try:
        from infra.spans import Spans  # noqa: PLC0415 - it loads the SDK

        spans = Spans()
    except ImportError:
        log.warning("nothing is traced, though OTEL_EXPORTER_OTLP_… is set: install rapport[otel]")
        return lambda: None
    except Exception as error:  # noqa: BLE001 - of what a variable may say, the SDK refuses some
        log.warning("nothing is traced: a variable OTEL_… has no usable value", error=type(error).__name__)
        return lambda: None
    _spans = spans

    def stop() -> None:
        global _spans  # noqa: PLW0603
        _spans = None
        spans.close()

    return stop


def _wanted() -> bool:
    said = os.environ.get
    if not (said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or said("OTEL_EXPORTER_OTLP_ENDPOINT")):
        return False
    if said("OTEL_SDK_DISABLED", "").strip().lower() == "true" or said("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    protocol = said("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or said("OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
    if protocol != PROTOCOL:
        log.warning(f"nothing is traced: OTEL_EXPORTER_OTLP_PROTOCOL can be {PROTOCOL} only")
        return False
    return True
