"""`/metrics`: the node in the text format of Prometheus. Counts and times only, nothing about anybody."""

import shutil
from collections.abc import Iterator
from contextlib import suppress

import duckdb
from anyio.to_thread import run_sync
from eventsourcing.persistence import OperationalError
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api import status
from api.http.asking import AskedFirst
from api.http.reads import reads_nothing
from api.http.roles import EVERY_ROLE
from api.http.threads import Threads
from api.node import Node

router = APIRouter(route_class=AskedFirst, tags=["operations"])


@router.get(
    "/metrics",
    summary="The node's figures for Prometheus",
    response_class=PlainTextResponse,
    openapi_extra=reads_nothing("counts and times") | EVERY_ROLE,
)
async def metrics(request: Request) -> Response:
    """Also while the ledger or the views are away: what cannot be told then is left out."""
    threads: Threads = request.app.state.threads
    figures = await run_sync(generate_latest, request.app.state.metrics, limiter=threads.figures)
    return Response(figures, media_type=CONTENT_TYPE_LATEST)


def registry_of(node: Node) -> CollectorRegistry:
    """A registry of the node's own, so that two nodes in one process do not mix."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(node))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class NodeCollector(Collector):
    """Looks at the node when it is asked."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not look at the node."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Every figure there is now."""
        node, at = self._node, self._node.building.at
        yield Gauge("rapport_node_ready", "1 when the node can do its work.", not node.unready())
        yield Gauge(
            "rapport_views_seq", "Ledger position up to which everything is in the views.", node.projector.checkpoint
        )
        yield Gauge(
            "rapport_mirror_seq", "Ledger position up to which the mirror holds everything.", node.projector.mirrored
        )
        yield Gauge("rapport_views_refused", "View definitions that were refused.", len(node.projector.refused))
        yield Gauge("rapport_views_building", "1 while views are being built anew.", at is not None)
        yield Gauge("rapport_views_build_done", "How much of that is done, 0 to 1.", 0.0 if at is None else at[1])
        yield from node.batches.collect()
        yield from node.intake.counted.collect()
        yield from self._of_disk()
        yield from self._of_ledger()
        yield from self._of_webhooks()
        yield from self._of_subscribers()
        yield from self._in_file()

    def _of_disk(self) -> Iterator[Metric]:
        with suppress(OSError):
            free = shutil.disk_usage(self._node.settings.data).free
            yield Gauge("rapport_data_free_bytes", "Free on the disk that holds the data folder.", free)

    def _of_ledger(self) -> Iterator[Metric]:
        try:
            behind = status.lag(self._node, self._node.ledger.last_seq())
        except OperationalError:
            return
        yield Gauge("rapport_ledger_last_seq", "The ledger's last position.", behind.last_seq)
        yield Gauge("rapport_views_lag_events", "Events of the ledger that are not in the views.", behind.lag_events)
        yield Gauge("rapport_views_lag_seconds", "Age of the oldest event that is not in the views.", behind.lag_s)
        yield from self._of_feed(behind.last_seq)

    def _of_webhooks(self) -> Iterator[Metric]:
        intake = self._node.intake
        try:
            waiting, dead = intake.queue.depth(), intake.letters.count()
        except OperationalError:
            return
        yield Gauge("rapport_webhooks_waiting", "Deliveries that wait to be recorded.", waiting.messages)
        yield Gauge("rapport_webhooks_oldest_seconds", "Age of the oldest of them.", waiting.oldest_s)
        yield Gauge("rapport_webhooks_dead_letters", "Deliveries that could not be recorded.", dead)

    def _of_feed(self, last_seq: int) -> Iterator[Metric]:
        relay = self._node.relay
        lag = max(0, last_seq - relay.position)
        yield Gauge("rapport_feed_last_seq", "The feed's last position, as this node knows it.", relay.end.seq)
        yield Gauge("rapport_feed_lag_events", "Events of the ledger that are not on the feed.", lag)
        yield Gauge("rapport_feed_relays", "1 while this node publishes the feed.", relay.is_active)

    def _of_subscribers(self) -> Iterator[Metric]:
        try:
            found = status.subscribers(self._node)
        except OperationalError:
            return
        lag = Gauge("rapport_subscriber_lag_messages", "Messages not acknowledged yet.", labels=["subscriber"])
        paused = Gauge("rapport_subscriber_paused", "1 while nothing is posted to it.", labels=["subscriber"])
        for subscriber in found:
            if subscriber["lag"] is not None:
                lag.add_metric([subscriber["name"]], subscriber["lag"])
            paused.add_metric([subscriber["name"]], subscriber["paused"] is not None)
        yield from (lag, paused)

    def _in_file(self) -> Iterator[Metric]:
        try:
            with self._node.projector.cursor() as cursor:
                letters = status.letters(cursor)
                rows = status.rows(self._node, cursor)
                builds = status.builds(cursor)
        except duckdb.Error:
            return
        yield Gauge("rapport_dead_letters", "Events that cannot be used.", letters.dead)
        yield Gauge("rapport_waiting_events", "Events that wait behind dead letters of their record.", letters.waiting)
        counted = Gauge("rapport_view_rows", "Rows of the mirror and of each stored view.", labels=["view"])
        for name, count in rows.items():
            counted.add_metric([name], count)
        yield counted
        took = Gauge("rapport_view_build_seconds", "How long the last build of a view took.", labels=["view"])
        for view in builds:
            if view["build_s"]:
                took.add_metric([view["name"]], view["build_s"])
        yield took
