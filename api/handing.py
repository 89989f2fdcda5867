"""Between the node and its door: open connections, figures and words, over a pair of sockets.

A frame is a kind (one byte), a length (four bytes, big-endian) and as many bytes; with a connection comes its file
descriptor (SCM_RIGHTS, unix(7)), at the frame's first byte.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

READY, CONNECTION, FIGURES, WORD, SETTINGS, KEY, STOP = b"r", b"c", b"f", b"w", b"s", b"k", b"q"
"""Of the door: it is open; a connection for the node; what came of deliveries; what is wrong, if anything is. Of the
node: where things are; the key of the day; finish what is taken."""

_HEAD = struct.Struct("!cI")
_FILES = 4


class Frame(NamedTuple):
    """What came: of a CONNECTION its descriptor (None where this process may open no more), and in `body` what was read
    of it already."""

    kind: bytes
    body: bytes
    descriptor: int | None = None


def send(channel: socket.socket, kind: bytes, body: bytes = b"", descriptor: int | None = None) -> None:
    """Sends one; the descriptor is duplicated, and stays the caller's. Raises OSError when nobody is there."""
    head = _HEAD.pack(kind, len(body))
    sent = socket.send_fds(channel, [head], [] if descriptor is None else [descriptor])
    channel.sendall(head[sent:] + body)


def received(channel: socket.socket) -> Iterator[Frame]:
    """What comes, until the other side is gone. A descriptor that comes is the caller's to close."""
    while True:
        head, descriptors = _whole(channel, _HEAD.size)
        if len(head) < _HEAD.size:
            return
        kind, size = _HEAD.unpack(head)
        body, more = _whole(channel, size)
        if len(body) < size:
            for descriptor in descriptors + more:
                os.close(descriptor)
            return
        yield Frame(kind, body, next(iter(descriptors), None))


def _whole(channel: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """So many bytes, or fewer when the other side is gone, and the descriptors that came with them."""
    found, descriptors = bytearray(), list[int]()
    with suppress(ConnectionError):
        while len(found) < size:
            piece, files, _, _ = socket.recv_fds(channel, size - len(found), _FILES)
            descriptors += files
            if not piece:
                break
            found += piece
    return bytes(found), descriptors
