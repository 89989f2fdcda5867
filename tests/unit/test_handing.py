"""What goes between a node and its door, over a real pair of sockets."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.handing import CONNECTION, FIGURES, READY, WORD, Frame, received, send
from api.http import at_the_door
from api.http.at_the_door import MOST_WAITING, ToNode

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


frames = st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=3_000), st.booleans()), max_size=8)


@given(frames)
def test_frames_come_as_they_were_sent_each_with_its_own_descriptor(sent: list[tuple[bytes, bytes, bool]]) -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs):
        pipes = [os.pipe() if with_file else None for *_, with_file in sent]
        with closing(ours):
            for (kind, body, _), pipe in zip(sent, pipes, strict=True):
                send(ours, kind, body, None if pipe is None else pipe[1])
        found = list(received(theirs))
    assert [(f.kind, f.body, f.descriptor is not None) for f in found] == sent
    for frame, pipe in zip(found, pipes, strict=True):
        if frame.descriptor is not None and pipe is not None:
            os.write(frame.descriptor, b"mine")
            assert os.read(pipe[0], 10) == b"mine"
            for descriptor in (frame.descriptor, *pipe):
                os.close(descriptor)


def test_of_a_frame_that_is_cut_off_nothing_stays_open(pair: Pair) -> None:
    """The other side died amid it."""
    ours, theirs = pair
    reading, writing = os.pipe()
    socket.send_fds(ours, [CONNECTION + (10).to_bytes(4, "big") + b"half"], [writing])
    os.close(writing)
    ours.close()
    assert list(received(theirs)) == []
    assert os.read(reading, 1) == b""  # the last copy of the writing end is closed
    os.close(reading)


def test_the_door_says_that_it_is_open_what_is_wrong_and_what_came_of_deliveries(pair: Pair) -> None:
    ours, theirs = pair
    to_node = ToNode(ours)
    to_node.word = lambda: "no NATS"
    to_node.start()
    to_node.note("sendgrid", "received")
    to_node.note("sendgrid", "received", 2)
    to_node.stop()
    ours.close()
    first, *others = received(theirs)
    assert first == Frame(READY, b"")
    assert Frame(WORD, b"no NATS") in others
    told = [figure for f in others if f.kind == FIGURES for figure in json.loads(f.body)]
    assert told == [["sendgrid", "received", 3]]


def test_what_waits_for_the_node_is_bounded(pair: Pair) -> None:
    """Each of them holds a file of the door's."""
    ours, theirs = pair
    to_node = ToNode(ours)
    taken = [to_node.hand(theirs, b"GET /") for _ in range(MOST_WAITING + 5)]
    assert taken == [True] * MOST_WAITING + [False] * 5
    to_node.start()
    to_node.stop()
    ours.close()
    handed = [f for f in received(theirs) if f.kind == CONNECTION]
    assert [f.body for f in handed] == [b"GET /"] * MOST_WAITING
    for frame in handed:
        assert frame.descriptor is not None
        os.close(frame.descriptor)


def test_a_door_that_cannot_reach_its_node_ends(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to answer deliveries alone; the node listens then."""
    ours, theirs = pair
    ended: list[int] = []
    monkeypatch.setattr(at_the_door.os, "_exit", ended.append)
    to_node = ToNode(ours)
    to_node.start()
    theirs.close()
    to_node._thread.join(10)
    assert ended == [1]
