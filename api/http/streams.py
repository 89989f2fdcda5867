"""The feed as server-sent events: what follows it for readers, how many there may be, and how all of them end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from api.http.callers import Caller
from infra.feed import Feed, FeedFollower, type_of
from infra.jetstream import RawMessage

MOST = 200
"""Readers at a time: each has a consumer of its own at the server."""
MOST_OF_ONE = 50
"""Of one caller."""
HEARTBEAT_S = 10.0
RECONNECT_MS = 2_000


class Streams:
    """The readers of one application."""

    def __init__(self) -> None:
        self._open: dict[FeedFollower, str] = {}
        self._ended = False

    def full_for(self, caller: Caller) -> str | None:
        """Why there is no place for one reader more of this caller; None when there is."""
        if len(self._open) >= MOST:
            return "this node has as many readers of its feed as it takes"
        if sum(name == caller.name for name in self._open.values()) >= MOST_OF_ONE:
            return f"{MOST_OF_ONE} readers of the feed are yours already; end one of them"
        return None

    def end(self) -> None:
        """Ends every reader's stream, and those still to be opened."""
        self._ended = True
        for follower in tuple(self._open):
            follower.stop()

    async def read(self, caller: Caller, feed: Feed, after: int, wanted: Callable[[str], bool]) -> AsyncIterator[bytes]:
        """Server-sent events of what is wanted behind `after`, until the reader leaves, its token ceases to count, or
        all streams are ended. Nothing at all when there is no place any more.

        A slow reader is waited for, and nothing piles up. Where nothing is wanted the position goes by, now and then,
        with an event that has no data.
        """
        if self.full_for(caller) is not None:  # others came before this one got here
            return
        follower = feed.follow(after)
        self._open[follower] = caller.name
        left_s = None if caller.until is None else max(0.0, caller.until - time.time())
        over = None if left_s is None else asyncio.get_running_loop().call_later(left_s, follower.stop)
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
            if over is not None:
                over.cancel()
            self._open.pop(follower, None)
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
