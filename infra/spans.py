"""Spans by OpenTelemetry's SDK, sent to a collector as OTLP over HTTP. Only `infra.tracing` loads this.

The provider is our own and not the process's, so that no library adds spans of its own, which have paths and queries.
Of an error there is its type: its message may quote what was being worked on.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, Thread

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

MOST_LINKS = 32
"""Of one span."""
REMEMBERED = 10_000
"""Of so many requests it is known which span theirs is."""
FLUSH_S = 2.0
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_trace_id: ContextVar[int | None] = ContextVar("trace_id", default=None)

log = structlog.get_logger()


class Spans:
    """The spans of this process; see `infra.tracing`. Raises what the SDK does for a variable that has no sense."""

    def __init__(self) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a collector that is away is reported by us
        self._exporter = _Exporter()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "rapport"}))
        self._provider = TracerProvider(resource=resource, id_generator=_Ids(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("rapport")
        self._requests: dict[str, SpanContext] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Sends what waits, and gives the rest up after `FLUSH_S`."""
        flushing = Thread(target=self._provider.shutdown, name="rapport-tracing", daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # ends what is being tried again

    @contextmanager
    def request(self, method: str, correlation: str, traceparent: str | None) -> Iterator["_Recorded"]:
        """See `tracing.request`. Who says nothing of a span above begins a trace with the correlation for its id."""
        above = TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, Context())
        trace_id = int(correlation, 16)
        if get_current_span(above).get_span_context().trace_id != trace_id:
            above = Context()
        given = _trace_id.set(trace_id)
        try:
            kind = method if method in METHODS else "_OTHER"
            attributes = {"http.request.method": kind}
            name = "HTTP" if kind == "_OTHER" else kind
            span = self._tracer.start_span(name, above, SpanKind.SERVER, attributes)
        finally:
            _trace_id.reset(given)
        self._remember(correlation, span.get_span_context())
        with _recorded(span, _Recorded(span, name, fails_from=500)) as recorded:
            yield recorded

    @contextmanager
    def work(
        self, name: str, correlations: Iterable[str | None], said: Mapping[str, int | str], *, outgoing: bool = False
    ) -> Iterator["_Recorded"]:
        """See `tracing.work`."""
        found = list(dict.fromkeys(c for c in correlations if isinstance(c, str) and _TRACE_ID.fullmatch(c)))
        links = [Link(self._requests.get(c) or _named(c)) for c in found[:MOST_LINKS]]
        context = None
        if not get_current_span().get_span_context().is_valid:
            alone = self._requests.get(found[0]) if len(found) == 1 else None
            context = Context() if alone is None else set_span_in_context(NonRecordingSpan(alone), Context())
        kind = SpanKind.CLIENT if outgoing else SpanKind.INTERNAL
        span = self._tracer.start_span(name, context, kind, links=links)
        with _recorded(span, _Recorded(span, name, fails_from=400)) as recorded:
            recorded.note(**said)
            yield recorded

    def _remember(self, correlation: str, span: SpanContext) -> None:
        with self._lock:
            self._requests[correlation] = span
            if len(self._requests) > REMEMBERED:
                del self._requests[next(iter(self._requests))]


class _Recorded:
    """What is said of a span; see `tracing.Span`."""

    def __init__(self, span: Span, name: str, fails_from: int) -> None:
        """A status from `fails_from` on is a failure: 500 of our answers, 400 of others'."""
        self._span = span
        self._name = name
        self._fails_from = fails_from

    def routed(self, route: str) -> None:
        self._span.set_attribute("http.route", route)
        self._span.update_name(f"{self._name} {route}")

    def note(self, **said: int | str) -> None:
        for name, value in said.items():
            self._span.set_attribute(f"rapport.{name}", value)

    def tally(self, outcomes: Iterable[str]) -> None:
        for outcome, count in Counter(outcomes).items():
            self._span.set_attribute(f"rapport.outcome.{outcome}", count)

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= self._fails_from:
            self.fail(str(status))

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class _Ids(RandomIdGenerator):
    """Random ids; the trace of a request has the one that was set for it."""

    def generate_trace_id(self) -> int:
        return _trace_id.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return _trace_id.get() is None


class _Exporter(OTLPSpanExporter):
    """Says once that the collector is away, and that it is back; nothing waits for it but its own queue."""

    _is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the SDK's."""
        result = super().export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away != self._is_away:
            self._is_away = is_away
            if is_away:
                log.warning("the collector of traces does not take them; they are dropped until it does")
            else:
                log.info("the collector takes traces again")
        return result


@contextmanager
def _recorded(span: Span, recorded: _Recorded) -> Iterator[_Recorded]:
    """The span is the current one for the time of the block, and ends with it."""
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield recorded
        except BaseException as error:
            recorded.fail(type(error).__name__)
            raise


def _named(correlation: str) -> SpanContext:
    """Some span of the trace of this id: which one, only the node knows that the request was made to."""
    trace_id = int(correlation, 16)
    return SpanContext(
        trace_id, trace_id & (2**64 - 1) or 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
