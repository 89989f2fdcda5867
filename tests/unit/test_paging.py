"""Lists by the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.paging import NoSuchPlace, page


@given(size=st.integers(0, 40), limit=st.integers(1, 12))
def test_pages_are_the_list_without_gap_or_double_and_the_last_says_so(size: int, limit: int) -> None:
    rows = [{"id": str(number)} for number in range(size)]
    part, more = page(rows, "id", limit, None)
    found = list(part)
    while more is not None:
        part, more = page(rows, "id", limit, more)
        assert 0 < len(part) <= limit
        found += part
    assert found == rows


def test_a_place_that_the_list_does_not_have_is_refused() -> None:
    with pytest.raises(NoSuchPlace, match="as it is"):
        page([{"id": "a"}], "id", 5, "b")
