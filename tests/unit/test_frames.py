"""Frames on the short way and on nats-py's: the same, whatever comes, and wherever the socket cuts it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from infra.jetstream.frames import LARGE_BYTES, SinkParser
from tests.unit.histories import examples

SINKS = (1, 12)
OTHERS = (2, 123)


class Heard:
    """A client that notes what its parser tells it, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.told.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.told.append(("ping",))

    async def _process_pong(self) -> None:
        self.told.append(("pong",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.told.append(("info", info))

    async def _process_err(self, error: str) -> None:
        self.told.append(("error", error))

    def sink(self, sid: int) -> Any:
        def take(subject: bytes, reply: bytes, body: bytes, header: bytes | None) -> None:
            self.told.append((sid, subject, reply, body, header))

        return take


def told(parts: list[bytes], *, quickly: bool) -> tuple[list[tuple[Any, ...]], bool]:
    """What a client is told of what comes in these parts, and whether that was the protocol."""
    heard = Heard()
    parser = SinkParser(heard, {sid: heard.sink(sid) for sid in SINKS}) if quickly else Parser(heard)

    async def run() -> None:
        for part in parts:
            await parser.parse(part)

    try:
        asyncio.run(run())
    except ProtocolError:
        return heard.told, False
    return heard.told, True


subjects = st.sampled_from([b"a", b"ledger.candidate.9f.9f", b"$JS.ACK.L.c.1.2.3.4.5", b"x" * 300])
bodies = st.binary(max_size=30) | st.sampled_from(
    [b"", b"\r\n", b"MSG a 1 0\r\n\r\n", b"PING\r\n", b"y" * (LARGE_BYTES - 1), b"y" * (LARGE_BYTES + 2)]
)
headers = st.sampled_from([b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 100\r\n\r\n"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    subject, sid, body = draw(subjects), draw(st.sampled_from([*SINKS, *SINKS, *OTHERS])), draw(bodies)
    to = b" ".join([subject, b"%d" % sid, *draw(st.lists(subjects, max_size=1))])
    if draw(st.booleans()):
        header = draw(headers)
        return b"HMSG %b %d %d\r\n%b%b\r\n" % (to, len(header), len(header) + len(body), header, body)
    return b"MSG %b %d\r\n%b\r\n" % (to, len(body), body)


frames = messages() | messages() | st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"a": 1}\r\n', b"-ERR 'Slow Consumer'\r\n"]
)  # fmt: skip
nonsense = st.sampled_from(
    [
        b"MSG a 1 -5\r\n",
        b"MSG a 1\r\n\r\n",
        b"HMSG a 1 9 x\r\n",
        b"MSG  a 1 1\r\nz\r\n",
        b"\r\n",
        b"HELLO\r\n",
        b"MSG a one 1\r\n",
    ]
)


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(st.lists(frames, max_size=10).map(b"".join).flatmap(cut))
@examples(300)
def test_the_client_is_told_what_nats_py_would_have_told_it(parts: list[bytes]) -> None:
    """Every frame once, in order, with and without reply and header, small and large, cut anywhere."""
    assert told(parts, quickly=True) == told(parts, quickly=False)


@given(st.tuples(st.lists(messages(), max_size=3).map(b"".join), nonsense).map(b"".join).flatmap(cut))
@examples(100)
def test_what_is_not_the_protocol_is_reported_as_nats_py_reports_it(parts: list[bytes]) -> None:
    """So that the connection is made anew; what came whole before it is handed out."""
    assert told(parts, quickly=True) == told(parts, quickly=False)


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_frames_that_come_in_pieces_come_whole(piece: int) -> None:
    stream = b"".join(b"HMSG s.%d 1 r 4 %d\r\nHEAD%b\r\n" % (n, 4 + n, b"b" * n) for n in range(200))
    heard, whole = told([stream[at : at + piece] for at in range(0, len(stream), piece)], quickly=True)
    assert whole
    assert heard == [(1, b"s.%d" % n, b"r", b"b" * n, b"HEAD") for n in range(200)]
