"""The feed as server-sent events: what follows it for readers, how many there may be, and how all of them end."""

import time
from collections.abc import AsyncIterator, Callable, Sequence

from infra.feed import Feed, FeedFollower, type_of
from infra.jetstream import RawMessage

MOST = 200
"""Readers at a time: each has a consumer of its own at the server."""
HEARTBEAT_S = 10.0
RECONNECT_MS = 2_000


class Streams:
    """The readers of one application."""

    def __init__(self) -> None:
        self._open: set[FeedFollower] = set()
        self._ended = False

    @property
    def is_full(self) -> bool:
        """Whether there are as many readers as a node takes."""
        return len(self._open) >= MOST

    def end(self) -> None:
        """Ends every reader's stream, and those still to be opened."""
        self._ended = True
        for follower in tuple(self._open):
            follower.stop()

    async def read(self, feed: Feed, after: int, wanted: Callable[[str], bool]) -> AsyncIterator[bytes]:
        """Server-sent events of what is wanted behind `after`, until the reader leaves or all streams are ended.

        A slow reader is waited for, and nothing piles up. Where nothing is wanted the position goes by, now and then,
        with an event that has no data.
        """
        follower = feed.follow(after)
        self._open.add(follower)
        if self._ended:
            follower.stop()
        try:
            yield b"retry: %d\nid: %d\n\n" % (RECONNECT_MS, after)
            said_at = time.monotonic()
            while (batch := await follower.take()) is not None:
                part = _events(feed, batch, wanted)
                after = batch[-1].seq if batch else after
                if not part and time.monotonic() - said_at > HEARTBEAT_S:
                    part = b": still here\nid: %d\n\n" % after
                if part:
                    yield part
                    said_at = time.monotonic()
        finally:
            self._open.discard(follower)
            follower.stop()


def _events(feed: Feed, batch: Sequence[RawMessage], wanted: Callable[[str], bool]) -> bytes:
    parts = []
    for message in batch:
        type_ = type_of(feed.stream, message.subject)
        if wanted(type_):
            parts.append(b"id: %d\nevent: %b\ndata: %b\n\n" % (message.seq, type_.encode(), message.body))
    return b"".join(parts)


def matching(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a type matches one of these, as in NATS: `*` is one word, `>` the rest. None of them match all."""
    wanted = [pattern.split(".") for pattern in patterns]
    return lambda type_: not wanted or any(_matches(pattern, type_.split(".")) for pattern in wanted)


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    for n, part in enumerate(pattern):
        if part == ">":
            return n < len(words)
        if n >= len(words) or part not in ("*", words[n]):
            return False
    return len(pattern) == len(words)
