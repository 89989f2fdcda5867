"""Tables read ahead on another thread: all of them, in order, joined within bounds, and never kept back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.projecting import BATCHES_AHEAD, Ahead
from tests.unit.histories import examples

SCHEMA = pa.schema([("n", pa.int64())])


class Broken(Exception):
    """Raised by a source."""


def table(start: int, count: int) -> pa.Table:
    return pa.table({"n": range(start, start + count)}, schema=SCHEMA)


def nothing_to_stop() -> None:
    """For sources that end by themselves."""


@st.composite
def sources(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    page = draw(st.integers(1, 5))
    return page, draw(st.integers(page, 20)), draw(st.lists(st.integers(0, page), max_size=20))


@given(sources(), st.booleans())
@examples(200)
def test_all_rows_come_in_order_and_what_went_wrong_comes_behind_them(
    drawn: tuple[int, int, list[int]], breaks: bool
) -> None:
    page, rows, sizes = drawn

    def source() -> Iterator[pa.Table]:
        start = 0
        for size in sizes:
            yield table(start, size)
            start += size
        if breaks:
            raise Broken

    handed_out: list[list[int]] = []
    caught = False
    with Ahead(source(), nothing_to_stop, page, rows) as ahead:
        try:
            handed_out.extend(t["n"].to_pylist() for t in ahead)
        except Broken:
            caught = True
    assert caught == breaks
    assert [n for part in handed_out for n in part] == list(range(sum(sizes)))
    assert all(len(part) <= rows for part in handed_out)
    assert all(before for before, part in pairwise([[0], *handed_out]) if not part), "twice that there is no more"


@pytest.mark.parametrize("sizes", [[1], [0, 1], [3, 3, 1], [3, 0]])
def test_what_is_there_is_handed_out_while_the_source_waits_for_more(sizes: list[int]) -> None:
    """Less than a page, or nothing behind a full one, says that there is no more for now."""
    taken = threading.Event()

    def source() -> Iterator[pa.Table]:
        for size in sizes:
            yield table(0, size)
        taken.wait()

    count = 0
    with Ahead(source(), taken.set, page=3, rows=100) as ahead:
        for part in ahead:
            count += part.num_rows
            if count == sum(sizes):
                taken.set()
    assert count == sum(sizes)


def test_full_pages_are_joined_to_the_most_that_may_be_handed_out() -> None:
    with Ahead((table(n, 5) for n in range(0, 100, 5)), nothing_to_stop, page=5, rows=20) as ahead:
        assert [part.num_rows for part in ahead] == [20] * 5


def test_that_there_is_no_more_for_now_is_said_behind_what_waited_before_it() -> None:
    """However many batches wait by then: the views are brought up when it is said, and not while there is more."""
    source = iter([*(table(n, 5) for n in range(0, 40, 5)), table(40, 0)])
    with Ahead(source, nothing_to_stop, page=5, rows=20) as ahead:
        ahead._thread.join(60)
        assert [part.num_rows for part in ahead] == [20, 20, 0]


def test_as_much_is_read_as_may_wait_and_leaving_ends_it() -> None:
    """While a batch is worked on, the source fills the room there is, and is asked for nothing beyond it."""
    asked: list[int] = []
    full = threading.Event()

    def source() -> Iterator[pa.Table]:
        while True:
            asked.append(1)
            if len(asked) == 4 + 4 * BATCHES_AHEAD:
                full.set()
            yield table(0, 5)

    ahead = Ahead(source(), nothing_to_stop, page=5, rows=20)
    with ahead:
        next(iter(ahead))
        assert full.wait(60)
    assert len(asked) == 4 + 4 * BATCHES_AHEAD
    assert not ahead._thread.is_alive()


def test_leaving_stops_a_source_that_waits() -> None:
    stop = threading.Event()

    def source() -> Iterator[pa.Table]:
        yield table(0, 1)
        stop.wait()

    ahead = Ahead(source(), stop.set, page=5, rows=20)
    with ahead:
        assert next(iter(ahead)).num_rows == 1
    assert not ahead._thread.is_alive()
