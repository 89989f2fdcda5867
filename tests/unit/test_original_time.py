"""When the ledger first took a message: the stream's own time, or what a restored one says of itself."""

from __future__ import annotations

import pytest

from infra.jetstream.stream import original_time_ns, recorded_at

NOW_NS = 1_790_000_000_123_456_789


def header(value: str) -> bytes:
    return (
        b"NATS/1.0\r\nNats-Batch-Id: a\r\nRapport-Recorded-At: "
        + value.encode()
        + b"\r\nNats-Batch-Sequence: 1\r\n\r\n"
    )


def test_a_restored_message_keeps_its_time_to_the_microsecond() -> None:
    for text in ("2026-03-01T09:30:00.123456Z", "2026-03-01T10:30:00.123456789+01:00"):
        assert recorded_at(original_time_ns(header(text), NOW_NS)).isoformat() == "2026-03-01T09:30:00.123456+00:00"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-03-01", "2026-03-01T09:30:00", "\u0662026-03-01T09:30:00Z", "1"]
)
def test_what_is_no_time_with_a_zone_changes_nothing(text: str) -> None:
    assert original_time_ns(header(text), NOW_NS) == NOW_NS


def test_nobody_was_ever_recorded_after_the_stream_took_it() -> None:
    """So that a forged header can at least not date an event ahead."""
    assert original_time_ns(header("2100-01-01T00:00:00Z"), NOW_NS) == NOW_NS


@pytest.mark.parametrize("block", [None, b"", b"NATS/1.0\r\nX: Rapport-Recorded-At: 2026-03-01T09:30:00Z\r\n\r\n"])
def test_without_the_header_the_time_is_the_streams(block: bytes | None) -> None:
    assert original_time_ns(block, NOW_NS) == NOW_NS
